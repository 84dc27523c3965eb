"""Wait until revocations are enforced, and have the receipts written.

A wait belongs to this process, and continues when its caller leaves. Another process that receives
a request for the same receipt starts its own wait, at its own read that saw the event. It needs
nothing from the first wait (Theorem 1). The first receipt that is stored is the receipt.
"""

import asyncio
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace

import structlog

from rescind.core.ledger import Position
from rescind.errors import RescindError, TooLargeError
from rescind.wire.heartbeat import AckRequest
from rescind_authority.errors import LostError, StoreUnavailableError
from rescind_authority.ports.broadcast import AcknowledgementCaller
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.keys import Keys
from rescind_authority.ports.leases import Receipts
from rescind_authority.ports.ledger import CommittedEvent, LedgerEntry
from rescind_authority.usecases.enforcement.acknowledgements import (
    AcknowledgementInbox,
    Acknowledgements,
)
from rescind_authority.usecases.enforcement.receipt_store import ReceiptStore
from rescind_authority.usecases.enforcement.row_watch import LeaseRowWatch
from rescind_authority.usecases.enforcement.wait import (
    EnforcementProgress,
    EnforcementWait,
    is_committed,
    is_lost,
)
from rescind_authority.usecases.revocations.hit_counts import AFTER_A_WAIT_S, HitCounter

_READ_ROWS_NS = 250_000_000
_RETRY_S = 0.1

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class PendingWait:
    """A wait whose state callers can query."""

    def __init__(self, target: CommittedEvent) -> None:
        self.target = target
        self.wait: EnforcementWait | None = None
        # None: a restore lost the revocation, so there is no receipt.
        self.envelope: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()


class Enforcer:
    """Run the waits of this process. They end only while `run` is running.

    `receipts` stores the receipts that the waits lead to.
    """

    def __init__(
        self,
        receipts: Receipts,
        *,
        acknowledgements: Acknowledgements,
        keys: Keys,
        caller: AcknowledgementCaller,
        clock: Clock,
        hit_counter: HitCounter | None = None,
    ) -> None:
        """Store the parts. Without a `hit_counter`, receipts have no number of hit tokens."""
        self.receipts = ReceiptStore(receipts, keys)
        self._receipts = receipts
        self._acknowledgements = acknowledgements
        self._caller = caller
        self._clock = clock
        self._hit_counter = hit_counter
        self._row_watch = LeaseRowWatch(receipts, clock)
        self._new_waits: asyncio.Queue[PendingWait] = asyncio.Queue()
        self._waits: dict[str, PendingWait] = {}

    @property
    def silent(self) -> int:
        """Return the number of instances without a heartbeat for a full wait."""
        return self._row_watch.silent

    async def run(self) -> None:
        """Run all waits, and watch the lease rows, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._row_watch.run())
            while True:
                tasks.create_task(self._run_wait(await self._new_waits.get()))

    def begin(self, target: CommittedEvent) -> PendingWait:
        """Start a wait for a committed event, or return the wait that is already running."""
        pending = self._waits.get(target.revocation_id)
        if pending is None:
            pending = self._waits[target.revocation_id] = PendingWait(target)
            self._new_waits.put_nowait(pending)
        return pending

    async def receipt(
        self, target: CommittedEvent, *, timeout_s: float
    ) -> bytes | EnforcementProgress:
        """Return the receipt's envelope, or the progress of the wait after `timeout_s`.

        No caller can have waited for a fresh event before. Raises LostError if a restore lost the
        event.
        """
        stored = None if target.fresh else await self.receipts.get(target.revocation_id)
        if stored is not None:
            return stored
        pending = self.begin(target)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                envelope = await asyncio.shield(pending.envelope)
                if envelope is None:
                    raise LostError(target.revocation_id)
                return envelope
        if pending.wait is None:
            raise StoreUnavailableError("no primary that has the revocation answers")
        now_ns = self._clock.monotonic_raw_ns()
        progress = pending.wait.progress(now_ns)
        return replace(
            progress,
            missing=tuple(
                replace(each, silent_s=self._row_watch.silent_s(each.instance, now_ns))
                for each in progress.missing
            ),
        )

    async def _run_wait(self, pending: PendingWait) -> None:
        try:
            with self._acknowledgements.listening() as listener:
                wait = await self._start(pending)
                # Read the entries while the acknowledgements arrive.
                entries = await self._entries_of(pending.target) if wait else ()
                if wait is None or not entries:
                    pending.envelope.set_result(None)
                    return
                async with asyncio.TaskGroup() as tasks:
                    count_task = tasks.create_task(self._count_hits(entries))
                    await self._collect_until_over(wait, listener, entries)
                    enforced_ns = self._clock.monotonic_raw_ns()
                    await asyncio.wait({count_task}, timeout=AFTER_A_WAIT_S)
                    count_task.cancel()
            hit = None if count_task.cancelled() else count_task.result()
            receipt = replace(wait.receipt(enforced_ns), hit=hit)
            pending.envelope.set_result(
                await self.receipts.sign_and_store(receipt, wait.target, entries)
            )
        except TooLargeError as error:
            _log.error(
                f"enforced, and there is no receipt: {error}",
                action="revocation.unsigned",
                id=pending.target.revocation_id,
            )
            pending.envelope.set_exception(error)
            pending.envelope.exception()  # retrieved, so that asyncio does not log it too
        finally:
            del self._waits[pending.target.revocation_id]
            pending.envelope.cancel()

    async def _start(self, pending: PendingWait) -> EnforcementWait | None:
        """Start a wait with a read that saw the event; return None if a restore lost it."""
        target = pending.target
        while True:
            try:
                seen = await self._receipts.waiting(target.revocation_id)
            except RescindError:
                await asyncio.sleep(_RETRY_S)
                continue
            # The timer starts after a read that saw the event committed, and never earlier. A seq
            # that is high enough does not prove that: an old primary may have its own events.
            seen_ns = self._clock.monotonic_raw_ns()
            if is_committed(target, seen):
                break
            if is_lost(target, seen):
                return None
            await asyncio.sleep(_RETRY_S)
        watch = self._row_watch
        watch.record(seen, seen_ns)
        pending.wait = wait = EnforcementWait(
            target,
            seen,
            seen_ns=seen_ns,
            unchanged_since_ns=watch.unchanged_since_ns(seen),
            rows_are_current=watch.rows_are_current(seen, seen_ns),
            unknown_until_ns=watch.unknown_until_ns(seen),
            acknowledged_ns=watch.read_times.acknowledged(
                seen.rows, epoch=target.epoch, seq=target.seq
            ),
            complete=watch.read_times.complete(epoch=target.epoch, seq=target.seq, now_ns=seen_ns),
        )
        self._caller.call(AckRequest(target.epoch, target.seq))
        return wait

    async def _entries_of(self, target: CommittedEvent) -> tuple[LedgerEntry, ...]:
        """Read the ledger entries of an awaited event; return none if a restore lost it."""
        while True:
            with suppress(RescindError):
                entries = await self._receipts.entries_of(target.revocation_id)
                last = entries[-1].event if entries else None
                if last is not None and (last.epoch, last.seq) == (target.epoch, target.seq):
                    return entries
                if await self.receipts.has_lost(target):
                    return ()
            await asyncio.sleep(_RETRY_S)

    async def _collect_until_over(
        self, wait: EnforcementWait, listener: AcknowledgementInbox, entries: Sequence[LedgerEntry]
    ) -> None:
        """Count acknowledgements and rows until the event is enforced."""
        heads = {each.event.seq: (each.event.epoch, each.head) for each in entries}
        await self._count_acknowledgements(wait, wait.pending, heads)
        rows_due_ns = self._clock.monotonic_raw_ns() + _READ_ROWS_NS
        while not wait.is_over(now_ns := self._clock.monotonic_raw_ns()):
            # The clock decides: a stream of acknowledgements must not delay the read of the rows.
            if now_ns >= rows_due_ns:
                await self._count_rows(wait)
                rows_due_ns = self._clock.monotonic_raw_ns() + _READ_ROWS_NS
                continue
            left_ns = min(rows_due_ns, wait.ends_ns) - now_ns
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.001, left_ns / 1e9)):
                    await listener.notified.wait()
                await self._count_acknowledgements(wait, wait.pending & listener.drain(), heads)

    async def _count_hits(self, entries: Sequence[LedgerEntry]) -> int | None:
        """Count the hit tokens while the wait runs; return None without a count."""
        if self._hit_counter is None:
            return None
        hit = await self._hit_counter.count(entries[-1].event, killed=len(entries) > 1)
        return None if hit is None else hit.tokens

    async def _count_rows(self, wait: EnforcementWait) -> None:
        """Count heartbeats and releases from the lease rows.

        They stand in for acknowledgements that did not reach this process.
        """
        try:
            seen = await self._receipts.waiting(wait.target.revocation_id)
        except RescindError:
            return  # the full wait needs no rows
        if wait.may_settle(seen):
            wait.apply_rows(seen.rows, now_ns=self._clock.monotonic_raw_ns())

    async def _count_acknowledgements(
        self,
        wait: EnforcementWait,
        instances: AbstractSet[bytes],
        heads: dict[int, tuple[int, bytes]],
    ) -> None:
        """Count acknowledgements whose head is the ledger's own at their seq."""
        target = wait.target
        received = {
            instance: latest
            for instance in instances
            if (latest := self._acknowledgements.latest(instance)) is not None
            and latest.applied.epoch == target.epoch
            and latest.applied.seq >= target.seq
        }
        unknown = {each.applied.seq for each in received.values()} - heads.keys()
        if unknown:
            try:
                found = await self._receipts.heads(unknown | {target.seq})
            except RescindError:
                return  # heartbeats repeat the acknowledgements, in the rows
            # A chain with the event at its place also proves the events after it. A chain without
            # it may be an old primary's, with events that were never confirmed.
            if found.get(target.seq) == heads[target.seq]:
                heads.update(found)
        for instance, each in received.items():
            if _is_ours(each.applied, heads):
                wait.acknowledge(instance, received_ns=each.received_ns, nonces=each.nonces)


def _is_ours(applied: Position, heads: dict[int, tuple[int, bytes]]) -> bool:
    return heads.get(applied.seq) == (applied.epoch, applied.head)
