"""Comparison of the ledger in Postgres with the ledger that this host has seen.

Each event is chained to the events before, and the end has a MAC. A missing or different event, or
an end older than one seen before, shows another ledger: from then on, this host leases, signs and
commits nothing. A new epoch with a MAC comes from an operator: the whole ledger is read again.

After a failover, a connection may lead to the old primary, whose end is older too. Its data is
refused like any older end, but reported as a problem only if a new connection shows it again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import count

import asyncpg
import structlog

from rescind.core import ledger
from rescind.core.ledger import Position
from rescind.errors import MalformedMessageError, RescindError
from rescind.wire import events
from rescind.wire.events import Batch
from rescind_authority.errors import NotMigratedError, StoreContendedError, StoreForgedError
from rescind_authority.ledger_index import KEPT_US, LedgerIndex
from rescind_authority.postgres.integrity import row_macs
from rescind_authority.postgres.integrity.row_macs import Row, RowKeys
from rescind_runtime.clock import wall_us

MOST = 1_024
"""The number of events in one read, to follow the ledger or to check old events."""

_STEP_S = 1.0
_SHORTEST_STEP_S = 0.1  # until the next step, if a reader found an older end meanwhile
_STEPS_BETWEEN_CHECKS = 5  # steps from one check of all events to the next
_ATTEMPTS = 3

Read = Callable[[str, int, int], Awaitable[Sequence[asyncpg.Record]]]
"""Run the named query for the events after a seq, with a maximum number of events."""

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class _OlderEndError(StoreForgedError):
    """Raised for an end before one that was seen: of an old primary, or of an older ledger."""


class LedgerWatch:
    """Compare the ledger in Postgres with the ledger that this host has seen."""

    def __init__(
        self,
        index: LedgerIndex,
        keys: RowKeys,
        read: Read,
        *,
        reconnect: Callable[[], Awaitable[None]],
        begins: bool = False,
    ) -> None:
        """Store the arguments.

        `reconnect` makes later reads use new connections. With `begins`, an empty index accepts the
        ledger in Postgres.
        """
        self.index = index
        self._keys = keys
        self._read = read
        self._reconnect = reconnect
        self._begins = begins
        self._lock = asyncio.Lock()
        self._older_end_seen = asyncio.Event()
        self._verified: Position | None = None
        self._end_problem: str | None = None
        self._old_problem: str | None = None

    @property
    def problem(self) -> str | None:
        """Return the problem of the ledger in Postgres; None if this host has seen the same ledger.

        The problem ends when Postgres shows that ledger again.
        """
        return self._end_problem or self._old_problem

    def require(self) -> None:
        """Raise StoreForgedError if Postgres has shown another ledger."""
        if self.problem is not None:
            raise StoreForgedError(self.problem)

    @property
    def seq(self) -> int:
        """Return the last seq that this host has seen, or -1."""
        position = self.index.position
        return -1 if position is None else position.seq

    def offer(self, batch: Batch) -> None:
        """Add a batch that an authority signed, if it continues from here."""
        position = self.index.position
        if position is None or self.problem is not None or self._lock.locked():
            return  # missing events are read from Postgres
        if (batch.epoch, batch.first_seq - 1, batch.before) == (
            position.epoch,
            position.seq,
            position.head,
        ):
            with suppress(StoreContendedError), self.index.changing():
                self.index.move(self._add_events(position, batch.payloads))

    async def run(self) -> None:
        """Follow the ledger, check old events, and prune the index, until cancelled."""
        for step in count():
            with suppress(RescindError):  # Postgres is away, or `problem` is set
                self._older_end_seen.clear()
                async with self._lock:
                    await self._follow_on_new_connections()
                self._end_problem = None
                if self._verified is not None or step % _STEPS_BETWEEN_CHECKS == 0:
                    await self.verify_old_events()
            self.index.sync()
            await self._wait_for_next_step()

    async def _wait_for_next_step(self) -> None:
        """Wait for the next step, which begins earlier if a reader finds an older end meanwhile."""
        await asyncio.sleep(_SHORTEST_STEP_S)
        if self.problem is not None:
            self._older_end_seen.clear()  # the problem is known already
        with suppress(TimeoutError):
            async with asyncio.timeout(_STEP_S - _SHORTEST_STEP_S):
                await self._older_end_seen.wait()

    async def _follow_on_new_connections(self) -> None:
        """Follow the ledger; if its end is older, repeat once on new connections."""
        try:
            await self._follow(self._read)
        except _OlderEndError:
            await self._reconnect()  # a new connection to an old primary is refused
            try:
                await self._follow(self._read)
            except _OlderEndError as error:
                raise self._report(error.problem) from error

    async def verify_up_to(self, seq: int, read: Read) -> None:
        """Follow the ledger at least up to a seq. Raises StoreForgedError."""
        self.require()
        if seq <= self.seq:
            return
        async with self._lock:
            for _ in range(_ATTEMPTS):
                await self._follow(read)
                if seq <= self.seq:
                    return
        raise StoreContendedError("LedgerIndex")

    async def follow(self, read: Read) -> None:
        """Read the ledger up to its end. Raises StoreForgedError if that end is older."""
        self.require()
        async with self._lock:
            await self._follow(read)

    def require_end(self, row: Row, *, seen: int) -> None:
        """Raise StoreForgedError unless this is an end of the ledger that this host has seen.

        `seen` is the last seq that it had seen before the row was read.
        """
        self.require()
        end = Position(row["epoch"], row["seq"], row["head"])
        self._require_written(row)
        position = self.index.position
        if position is None or end.epoch > position.epoch:
            return  # a new epoch: `_follow` adds it, or reads the ledger again
        older = end.epoch < position.epoch or end.seq < seen
        if older or (end.seq == position.seq and end != position):
            raise self._older_end_error(end, max(seen, position.seq))

    async def verify_old_events(self) -> None:
        """Recompute the chain of some old events; successive calls cover all events."""
        target = self.index.position
        if target is None:
            return
        start = self._verified or ledger.genesis(1)
        found = await self._read("chain_after", start.seq, MOST)
        epochs = [each for each in _epochs_of(found) if each[0] <= target.epoch]
        for row in found:
            if row["event"] is None or row["event"] > target.seq:
                break
            start = _enter_epochs(start, epochs)
            if row["event"] != start.seq + 1:
                raise self._report_old(f"event {start.seq + 1} is missing")
            start = start.after(row["payload"])
        start = _enter_epochs(start, epochs)
        if start.seq < target.seq:
            if len(found) < MOST:
                raise self._report_old(f"event {start.seq + 1} is missing")
            self._verified = start
            return
        self._verified = None
        if start != target:
            raise self._report_old("an event is not the one that an authority wrote")
        self._old_problem = None
        self.index.prune(wall_us() - KEPT_US)

    async def _follow(self, read: Read) -> None:
        position = self.index.position
        found = await read("chain_after", self.seq, MOST)
        if not found:
            raise NotMigratedError
        self._require_written(found[0])
        if position is None:
            if _end_of(found).seq and not self._begins:
                raise self._report(
                    "this host has no ledger index, so it cannot tell an older ledger from the "
                    "newest: copy `ledger-index` from another authority's host, or see `rescind "
                    "ledger accept`"
                )
            await self.rebuild(read)
            return
        end = _end_of(found)
        if end.epoch > position.epoch and not self._continues(position, end, found):
            _log.warning(
                "a new epoch began: this host reads the ledger anew",
                action="ledger_index.rebuilt",
                epoch=end.epoch,
                seq=end.seq,
            )
            await self.rebuild(read)
            return
        if end.epoch < position.epoch or end.seq < position.seq:
            raise self._older_end_error(end, position.seq)
        with self.index.changing():
            if self.index.position != position:
                return  # another authority of this host was faster
            await self._add_to_end(position, found, read)

    async def _add_to_end(
        self, position: Position, found: Sequence[asyncpg.Record], read: Read
    ) -> Position:
        """Add every event after a position, beginning with those in `found`. Return the end."""
        while (position := self._chain_events(position, found)).seq < _end_of(found).seq:
            found = await read("chain_after", position.seq, MOST)
            self._require_written(found[0])
        if position != _end_of(found):
            raise self._report("an event is not the one that an authority wrote")
        self.index.move(position)
        return position

    def _continues(
        self, position: Position, end: Position, found: Sequence[asyncpg.Record]
    ) -> bool:
        """Return True if the later epochs began at this host's position, or after it."""
        bases = [base for epoch, base in _epochs_of(found) if epoch > position.epoch]
        return bool(bases) and min(bases) >= position.seq and end.seq >= position.seq

    async def rebuild(self, read: Read | None = None) -> Position:
        """Read the ledger from its beginning, and return its end.

        Raises StoreForgedError if the ledger is not whole.
        """
        read = read or self._read
        begin = ledger.genesis(1)
        with self.index.changing():
            self.index.forget()
            found = await read("chain_after", begin.seq, MOST)
            self._require_written(found[0])
            return await self._add_to_end(begin, found, read)

    async def accept_as_it_is(self) -> Position:
        """Accept the ledger in Postgres, even if it is not whole. Return its end."""
        seq = 0
        with self.index.changing():
            self.index.forget()
            while True:
                found = await self._read("chain_after", seq, MOST)
                for row in found:
                    if row["event"] is not None:
                        with suppress(MalformedMessageError):
                            self.index.add(events.decode(row["payload"]))
                        seq = row["event"]
                if len(found) < MOST:
                    break
            self.index.move(_end_of(found))
        return _end_of(found)

    def _chain_events(self, position: Position, found: Sequence[asyncpg.Record]) -> Position:
        """Chain the events that were read, and add them. Raises StoreForgedError."""
        epochs, last = _epochs_of(found), _end_of(found).seq
        for row in found:
            if row["event"] is None:
                break
            position = _enter_epochs(position, epochs)
            if row["event"] != position.seq + 1:
                raise self._report(f"event {position.seq + 1} is missing")
            position = self._add_events(position, [row["payload"]])
        position = _enter_epochs(position, epochs)
        if position.seq > last or (position.seq < last and len(found) < MOST):
            raise self._report(f"event {position.seq + 1} is missing")
        return position

    def _add_events(self, position: Position, payloads: Sequence[bytes]) -> Position:
        for payload in payloads:
            try:
                event = events.decode(payload)
            except MalformedMessageError:
                raise self._report(f"event {position.seq + 1} cannot be read") from None
            self.index.add(event)
            position = position.after(payload)
        return position

    def _require_written(self, row: Row) -> None:
        """Raise StoreForgedError unless an authority wrote this end of the ledger."""
        if row["seq"] == 0 and row["epoch"] == 1:
            genuine = row["head"] == ledger.genesis(1).head
        else:
            genuine = row_macs.genuine(self._keys.rows, "ledger_head", row, row["mac"])
        if not genuine:
            raise self._report("no authority wrote the ledger's end in Postgres")

    def _older_end_error(self, end: Position, seen: int) -> _OlderEndError:
        self._older_end_seen.set()
        return _OlderEndError(
            f"the ledger in Postgres ends at {end.epoch}.{end.seq}, and this host has seen {seen}"
        )

    def _report(self, problem: str) -> StoreForgedError:
        self._log_problem(problem)
        self._end_problem = problem
        return StoreForgedError(problem)

    def _report_old(self, problem: str) -> StoreForgedError:
        self._log_problem(problem)
        self._verified, self._old_problem = None, problem
        return StoreForgedError(problem)

    def _log_problem(self, problem: str) -> None:
        if self.problem is None:
            _log.critical(
                "the ledger in Postgres is not the one that this host has seen: nothing is leased "
                "any more. See deploy/runbooks/changed-postgres.md",
                action="ledger.forged",
                why=problem,
            )


def _end_of(found: Sequence[asyncpg.Record]) -> Position:
    return Position(found[0]["epoch"], found[0]["seq"], found[0]["head"])


def _epochs_of(found: Sequence[asyncpg.Record]) -> list[tuple[int, int]]:
    return list(zip(found[0]["epochs"], found[0]["bases"], strict=True))


def _enter_epochs(position: Position, epochs: Sequence[tuple[int, int]]) -> Position:
    """Return the position after the epochs that began there."""
    for epoch, base in epochs:
        if epoch > position.epoch and base == position.seq:
            position = ledger.begin_epoch(position, epoch=epoch)
    return position
