"""Write revoked marks on the tokens that a revoke ended (design 5).

Lists and counts then need not compute the state. Enforcement never waits for the marks. The first
authority that is ready runs a turn. A turn marks a bounded number of tokens, in one transaction
with the place that it reached. So an interrupted turn has no effect. The next turn, here or in
another authority, continues from that place. Only a revoke is marked, because it is final. The
effect of a revocation that can be lifted is always computed.
"""

import asyncio
from dataclasses import dataclass

from rescind.errors import RescindError
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.metrics import Metrics
from rescind_authority.ports.revocations import Revoke, SweepCursor, Sweeps, SweepTransaction
from rescind_authority.ports.token_search import TokenFilter, Tokens
from rescind_authority.usecases.read_model.token_search import (
    EXPECTED_FEW,
    NEWEST,
    OLDEST,
    narrowest_scan,
)

MOST = 2_000
_STEPS_EACH = 10  # tokens to scan for each token to mark, where few of them match
_FEW_EACH = 5  # up to so many times the bound, a list of all matches is cheaper than a scan
_MAX_REVOKES = 256
_POLL_S = 1.0
_FENCE_S = 0.05
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class _Fence:
    """The transactions below `number` may still add a token that a revoke up to `seq` hits."""

    seq: int
    number: int


class Sweeper:
    """Run turns of the sweep, as long as there is work."""

    def __init__(
        self,
        sweeps: Sweeps,
        *,
        tokens: Tokens,
        clock: Clock,
        metrics: Metrics,
        most: int = MOST,
    ) -> None:
        self._sweeps = sweeps
        self._tokens = tokens
        self._clock = clock
        self._metrics = metrics
        self._most = most
        self._few = most * _FEW_EACH
        self._fence: _Fence | None = None
        self.waiting = 0

    async def run(self) -> None:
        """Run turns of the sweep, until cancelled."""
        while True:
            try:
                pause_s = await self.step()
            except RescindError:
                pause_s = _POLL_S  # Postgres is unreachable, which is logged elsewhere
            await asyncio.sleep(pause_s)

    async def step(self) -> float:
        """Run one turn if there is work, and return the pause in seconds."""
        backlog = await self._sweeps.backlog()
        self.waiting = backlog.waiting
        if backlog.head <= backlog.swept:
            return _POLL_S
        up_to = backlog.head
        if backlog.waiting:
            # Issuing writes its key first, then reads the ledger's end, then stores the token. So a
            # token that a revoke hits may be stored after the revoke. But no transaction stores one
            # that wrote for the first time when the revoke could be seen: only those below the
            # fence can.
            if self._fence is None or self._fence.seq <= backlog.swept:
                self._fence = _Fence(backlog.head, await self._sweeps.fence())
            if not await self._sweeps.passed(self._fence.number):
                return _FENCE_S
            up_to = self._fence.seq
        began_ns = self._clock.monotonic_raw_ns()
        async with self._sweeps.turn() as turn:
            if turn is None:
                return _POLL_S
            marked = await self._mark_tokens(turn, up_to)
        self._metrics.marked(marked)
        # Pause as long as the turn took: a busy database gets longer pauses.
        return (self._clock.monotonic_raw_ns() - began_ns) / _NS_PER_S

    async def _mark_tokens(self, turn: SweepTransaction, up_to: int) -> int:
        """Mark tokens up to the bound, store the place reached, and return how many were marked."""
        place, marked, left = turn.place, 0, self._most
        revokes = await turn.next_revokes(up_to=up_to, most=_MAX_REVOKES)
        for revoke in revokes:
            token_ids, last = await self._find_hit(revoke, place, left)
            marked += await turn.mark(revoke.seq, token_ids)
            left -= len(token_ids)
            if last is not None:
                await turn.store_progress(SweepCursor(place.seq, last))
                return marked
            place = SweepCursor(revoke.seq, None)
            if left <= 0:
                break
        else:
            if len(revokes) < _MAX_REVOKES:
                place = SweepCursor(up_to, None)
        await turn.store_progress(place)
        return marked

    async def _find_hit(
        self, revoke: Revoke, place: SweepCursor, most: int
    ) -> tuple[tuple[str, ...], str | None]:
        """Return tokens that a revoke may hit, and the place to continue at, None at the end."""
        token_filter = TokenFilter(revoke.handles)
        if place.before is None and await self._tokens.estimate(revoke.handles) <= EXPECTED_FEW:
            few = await self._tokens.few(
                token_filter, before=NEWEST, most=self._few, bound=self._few
            )
            if few is not None:
                return few, None
        walked = await self._tokens.walk(
            token_filter,
            narrowest_scan(revoke.handles),
            before=place.before or NEWEST,
            after=OLDEST,
            steps=most * _STEPS_EACH,
            most=most,
        )
        cut_short = len(walked.token_ids) == most
        return walked.token_ids, walked.token_ids[-1] if cut_short else walked.last
