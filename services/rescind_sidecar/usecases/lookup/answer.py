"""The answers to a workload's look-ups, from memory, Redis or the authority.

If none of them has an answer, the token is denied.
"""

from dataclasses import dataclass

from rescind.core import token_format
from rescind.core.token_format import TokenHash
from rescind.core.verdict import Denied, Reason
from rescind.errors import MalformedTokenError
from rescind_sidecar.ports import BootClock
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.usecases.instance import SidecarInstance, SidecarInstances
from rescind_sidecar.usecases.ledger.catch_up import CatchUp
from rescind_sidecar.usecases.lookup.fetch import UNAVAILABLE, UNKNOWN, Fetch
from rescind_sidecar.usecases.lookup.lookup_budgets import LookupSource
from rescind_sidecar.usecases.lookup.usage_reports import UsageReports
from rescind_sidecar.view.record_cache import CachedRecord, Window

_ATTEMPTS = 4

MALFORMED = Denied(Reason.MALFORMED)
NO_LEASE = Denied(Reason.NO_LEASE)


@dataclass(frozen=True, slots=True)
class ValidRecord:
    """A record that is valid now, its instance, and the window in which this holds."""

    instance: SidecarInstance
    cached: CachedRecord
    window: Window


class TokenLookup:
    """Find the record of a token, and check everything that does not depend on the call.

    A token that its bearer presents is a text. A token of a queued job is named by its hash alone:
    then nothing counts as a use of the token, and no look-up proves that it was presented.
    """

    def __init__(
        self,
        instances: SidecarInstances,
        fetch: Fetch,
        catch_up: CatchUp,
        *,
        uses: UsageReports,
        clock: BootClock,
        tally: Counters,
        prefix: str,
    ) -> None:
        self._instances = instances
        self._fetch = fetch
        self._catch_up = catch_up
        self._uses = uses
        self._clock = clock
        self._tally = tally
        self._prefix = prefix

    @property
    def instance(self) -> bytes:
        """Return the id of the current instance."""
        return self._instances.current.instance

    @property
    def as_of(self) -> int:
        """Return the position that the instance has applied; 0 before its first lease."""
        applied = self._instances.current.view.applied
        return 0 if applied is None else applied.seq

    @property
    def refused(self) -> str | None:
        """Return the reason why the instance is refused another lease, or None."""
        return self._instances.current.refused

    def lease_left_ns(self) -> int:
        """Return the remaining time of the lease, in nanoseconds; 0 without a lease."""
        ends_ns = self._instances.current.view.leases.ends_ns
        return max(0, ends_ns - self._clock.boottime_ns())

    def recall(self, text: str | TokenHash) -> ValidRecord | Denied | None:
        """Return the answer from memory; None if a look-up is needed."""
        if isinstance(text, TokenHash):
            return self._recall_by_hash(text.octets, presented=False)
        token_hash = token_format.digest(text)
        if token_hash in self._instances.current.view.records:
            # A token in memory was issued: its form is valid, whatever key tags new tokens now.
            return self._recall_by_hash(token_hash, presented=True)
        try:
            token = token_format.parse(text, prefix=self._prefix)
        except MalformedTokenError:
            return MALFORMED
        answer = self._recall_by_hash(token_hash, presented=True)
        return self._deny_forged_tag(token) if answer is None else answer

    def _deny_forgery(self, text: str | TokenHash) -> Denied | None:
        """Return the denial of a malformed or forged token, or None for any other token."""
        if isinstance(text, TokenHash):
            return None
        if token_format.digest(text) in self._instances.current.view.records:
            return None
        try:
            return self._deny_forged_tag(token_format.parse(text, prefix=self._prefix))
        except MalformedTokenError:
            return MALFORMED

    def _deny_forged_tag(self, token: token_format.Token) -> Denied | None:
        """Return a denial, or None if one of the edge keys made the token's tag."""
        edge_keys = self._instances.current.edge_keys
        if not edge_keys or token_format.genuine(token, edge_keys):
            return None
        self._tally.forgeries += 1
        return UNKNOWN

    def covers(self, min_seq: int) -> bool:
        """Return True if the view has applied this position; 0 requires none."""
        return not min_seq or self._instances.current.view.reached(min_seq)

    async def look_up(
        self, text: str | TokenHash, *, source: LookupSource, min_seq: int = 0
    ) -> ValidRecord | Denied:
        """Return the answer, as of `min_seq` at least.

        A record that is not in memory is fetched from Redis or the authority.
        """
        if not self.covers(min_seq):
            if not self.lease_left_ns():
                return NO_LEASE
            # A forgery is denied at any position, so it must not cause a request for events.
            if (denial := self._deny_forgery(text)) is not None:
                return denial
            await self._catch_up.wait_for(min_seq)
            if not self.covers(min_seq):
                return UNAVAILABLE
        answer = await self._find(text, source)
        # Another instance may have begun in the meantime, on a ledger that was set back.
        return answer if self.covers(min_seq) else UNAVAILABLE

    async def _find(self, text: str | TokenHash, source: LookupSource) -> ValidRecord | Denied:
        answer = self.recall(text)
        if answer is not None:
            return answer
        token_hash, presented = token_format.digest(text), isinstance(text, str)
        for attempt in range(_ATTEMPTS):
            denial = await self._fetch.record(text, source=source, past_redis=attempt > 0)
            if denial is not None:
                return denial
            answer = self._recall_by_hash(token_hash, presented=presented)
            if answer is not None:
                return answer
        self._tally.looks_unanswered += 1
        return UNAVAILABLE

    def _recall_by_hash(self, token_hash: bytes, *, presented: bool) -> ValidRecord | Denied | None:
        current = self._instances.current
        view, now_ns = current.view, self._clock.boottime_ns()
        if view.applied is None:
            return NO_LEASE
        cached = view.find(token_hash)
        if cached is None or not view.answers_for(cached.record.kind, now_ns):
            # Grace covers records fetched under the lease: without a lease, nothing is looked up.
            leased = view.leased(now_ns)
            return self._recall_unknown(current, token_hash, now_ns) if leased else NO_LEASE
        self._tally.looks_from_memory += 1
        result = view.judge(cached, now_ns)
        if isinstance(result, Denied):
            expired = result.reason is Reason.EXPIRED and view.leased(now_ns)
            if expired and (not presented or view.report_due(cached, now_ns)):
                # A look-up by hash reports nothing to the authority. So the record does not stay:
                # it would delay the report that this ended token is presented.
                view.records.drop(token_hash)
                return None if presented else result
            return result
        if not view.leased(now_ns):
            self._tally.looks_in_grace += 1
        if presented:
            self._uses.note(cached.record.token_id)
        return ValidRecord(current, cached, result)

    def _recall_unknown(
        self, current: SidecarInstance, token_hash: bytes, now_ns: int
    ) -> Denied | None:
        if not current.negative_cache.has(token_hash, now_ns):
            return None
        self._tally.looks_known_unknown += 1
        return UNKNOWN
