"""Answer what a workload asks: from memory if it can, else from elsewhere, else not at all."""

from dataclasses import dataclass

from rescind.core import tokens
from rescind.core.verdict import Denied, Reason
from rescind.errors import MalformedTokenError
from rescind_sidecar.ports import Clock
from rescind_sidecar.usecases.budget import Source
from rescind_sidecar.usecases.catch_up import CatchUp
from rescind_sidecar.usecases.fetch import UNAVAILABLE, UNKNOWN, Fetch
from rescind_sidecar.usecases.incarnations import Incarnation, Incarnations
from rescind_sidecar.usecases.tally import Tally
from rescind_sidecar.usecases.used import Uses
from rescind_sidecar.view.records import Held, Window

_ATTEMPTS = 4

MALFORMED = Denied(Reason.MALFORMED)
NO_LEASE = Denied(Reason.NO_LEASE)


@dataclass(frozen=True, slots=True)
class Found:
    """A record that is good now, in this instance, within this window."""

    incarnation: Incarnation
    held: Held
    window: Window


class Answer:
    """Find the record behind a token, and judge all of it that does not depend on the call."""

    def __init__(
        self,
        incarnations: Incarnations,
        fetch: Fetch,
        catch_up: CatchUp,
        *,
        uses: Uses,
        clock: Clock,
        tally: Tally,
        prefix: str,
    ) -> None:
        self._incarnations = incarnations
        self._fetch = fetch
        self._catch_up = catch_up
        self._uses = uses
        self._clock = clock
        self._tally = tally
        self._prefix = prefix

    @property
    def instance(self) -> bytes:
        """The instance that answers now."""
        return self._incarnations.current.instance

    @property
    def as_of(self) -> int:
        """The position that the instance has applied; 0 before its first lease."""
        applied = self._incarnations.current.view.applied
        return 0 if applied is None else applied.seq

    def lease_left_ns(self) -> int:
        """Say for how long the instance may answer now; 0 without a lease."""
        ends_ns = self._incarnations.current.view.leases.ends_ns
        return max(0, ends_ns - self._clock.boottime_ns())

    def recall(self, text: str) -> Found | Denied | None:
        """Answer from memory; None says that somebody else has to be asked."""
        token_hash = tokens.digest(text)
        if token_hash in self._incarnations.current.view.records:
            # What memory holds was issued: its form is good, whatever key tags new tokens now.
            return self._remembered(token_hash)
        try:
            token = tokens.parse(text, prefix=self._prefix)
        except MalformedTokenError:
            return MALFORMED
        found = self._remembered(token_hash)
        return self._tagged(token) if found is None else found

    def _forged(self, text: str) -> Denied | None:
        """Return why a token is denied whatever the ledger says of it, None for another one."""
        if tokens.digest(text) in self._incarnations.current.view.records:
            return None
        try:
            return self._tagged(tokens.parse(text, prefix=self._prefix))
        except MalformedTokenError:
            return MALFORMED

    def _tagged(self, token: tokens.Token) -> Denied | None:
        """Return None if one of the edge keys made the tag of a token."""
        edge_keys = self._incarnations.current.edge_keys
        if not edge_keys or tokens.genuine(token, edge_keys):
            return None
        self._tally.forgeries += 1
        return UNKNOWN

    def covers(self, min_seq: int) -> bool:
        """Say whether an answer now is as of this position at least; all of them are of 0."""
        return not min_seq or self._incarnations.current.view.reached(min_seq)

    async def look(self, text: str, *, source: Source, min_seq: int = 0) -> Found | Denied:
        """Answer, asking elsewhere where memory does not do, and as of `min_seq` at least."""
        if not self.covers(min_seq):
            if not self.lease_left_ns():
                return NO_LEASE
            # No position makes a forgery good: it must cost no catching up.
            if (forged := self._forged(text)) is not None:
                return forged
            await self._catch_up.to(min_seq)
            if not self.covers(min_seq):
                return UNAVAILABLE
        found = await self._find(text, source)
        # Another instance may have begun meanwhile, on a ledger that was set back.
        return found if self.covers(min_seq) else UNAVAILABLE

    async def _find(self, text: str, source: Source) -> Found | Denied:
        found = self.recall(text)
        if found is not None:
            return found
        token_hash = tokens.digest(text)
        for attempt in range(_ATTEMPTS):
            denied = await self._fetch.record(token_hash, source=source, past_redis=attempt > 0)
            if denied is not None:
                return denied
            found = self._remembered(token_hash)
            if found is not None:
                return found
        self._tally.looks_unanswered += 1
        return UNAVAILABLE

    def _remembered(self, token_hash: bytes) -> Found | Denied | None:
        incarnation = self._incarnations.current
        view, now_ns = incarnation.view, self._clock.boottime_ns()
        if view.applied is None:
            return NO_LEASE
        held = view.look(token_hash)
        if held is None or not view.answers_for(held.record.kind, now_ns):
            # Grace is for what was known under the lease: nothing new is looked up without one.
            leased = view.leased(now_ns)
            return self._unknown(incarnation, token_hash, now_ns) if leased else NO_LEASE
        self._tally.looks_from_memory += 1
        judged = view.judge(held, now_ns)
        if isinstance(judged, Denied):
            ended = judged.reason is Reason.EXPIRED
            if ended and view.leased(now_ns) and not held.told(now_ns):
                view.records.drop(token_hash)
                return None
            return judged
        if not view.leased(now_ns):
            self._tally.looks_in_grace += 1
        self._uses.note(held.record.token_id)
        return Found(incarnation, held, judged)

    def _unknown(self, incarnation: Incarnation, token_hash: bytes, now_ns: int) -> Denied | None:
        if not incarnation.unknowns.has(token_hash, now_ns):
            return None
        self._tally.looks_known_unknown += 1
        return UNKNOWN
