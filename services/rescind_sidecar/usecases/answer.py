"""Answer what a workload asks: from memory if it can, else from the authority, else not at all."""

import asyncio
from dataclasses import dataclass

from rescind.core import tokens
from rescind.core.verdict import Denied, Reason
from rescind.errors import MalformedTokenError, UnreachableError
from rescind.wire import records
from rescind_sidecar.ports import Clock, Link
from rescind_sidecar.usecases.incarnations import Incarnation, Incarnations
from rescind_sidecar.usecases.tally import Tally
from rescind_sidecar.view.records import Held
from rescind_sidecar.view.view import Refused, Stale, Window

_ATTEMPTS = 4
_MOST_FLIGHTS = 4096

UNKNOWN = Denied(Reason.UNKNOWN)
UNAVAILABLE = Denied(Reason.UNAVAILABLE)
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
        link: Link,
        clock: Clock,
        tally: Tally,
        *,
        edge_keys: tuple[bytes, ...],
        prefix: str,
    ) -> None:
        self._incarnations = incarnations
        self._link = link
        self._clock = clock
        self._tally = tally
        self._edge_keys = edge_keys
        self._prefix = prefix
        self._flights: dict[bytes, asyncio.Future[Denied | None]] = {}

    @property
    def instance(self) -> bytes:
        """The instance that answers now."""
        return self._incarnations.current.instance

    def recall(self, text: str) -> Found | Denied | None:
        """Answer from memory; None says that the authority has to be asked."""
        try:
            token = tokens.parse(text, prefix=self._prefix)
        except MalformedTokenError:
            return MALFORMED
        found = self._remembered(tokens.digest(text))
        if found is not None:
            return found
        # The tag only before a look-up: what memory holds was issued, whatever key is retired now.
        if self._edge_keys and not tokens.genuine(token, self._edge_keys):
            self._tally.forgeries += 1
            return UNKNOWN
        return None

    async def look(self, text: str) -> Found | Denied:
        """Answer, asking the authority where memory does not do."""
        found = self.recall(text)
        if found is not None:
            return found
        token_hash = tokens.digest(text)
        for _ in range(_ATTEMPTS):
            denied = await self._fill_once(token_hash)
            if denied is not None:
                return denied
            found = self._remembered(token_hash)
            if found is not None:
                return found
        self._tally.looks_unanswered += 1
        return UNAVAILABLE

    def _remembered(self, token_hash: bytes) -> Found | Denied | None:
        incarnation = self._incarnations.current
        now_ns = self._clock.boottime_ns()
        if not incarnation.view.leased(now_ns):
            return NO_LEASE
        held = incarnation.view.look(token_hash)
        if held is None:
            return None
        self._tally.looks_from_memory += 1
        judged = incarnation.view.judge(held, now_ns)
        return judged if isinstance(judged, Denied) else Found(incarnation, held, judged)

    async def _fill_once(self, token_hash: bytes) -> Denied | None:
        """Make one look-up for all who ask for the same token now.

        To join one that is under way is safe here: what it brings is held against the events
        applied by the time it comes, not by the time it was asked (design 6.4).
        """
        flight = self._flights.get(token_hash)
        if flight is not None:
            await asyncio.wait([flight])
            return None if flight.cancelled() else flight.result()
        if len(self._flights) >= _MOST_FLIGHTS:
            return UNAVAILABLE
        flight = asyncio.get_running_loop().create_future()
        self._flights[token_hash] = flight
        try:
            denied = await self._fill(token_hash)
            flight.set_result(denied)
        finally:
            del self._flights[token_hash]
            flight.cancel()  # if this caller was cancelled, the others look for themselves
        return denied

    async def _fill(self, token_hash: bytes) -> Denied | None:
        self._tally.looks_at_authority += 1
        try:
            resolved = await self._link.resolve(records.Resolve(token_hash))
        except UnreachableError:
            self._tally.looks_unanswered += 1
            return UNAVAILABLE
        if resolved.record is None:
            return UNKNOWN
        match self._incarnations.current.view.fill(token_hash, resolved.record):
            case Held() | Stale():
                return None
            case Refused():
                self._tally.messages_refused += 1
                return UNAVAILABLE
