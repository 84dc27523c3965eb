"""Wait until revocations are enforced, and write the receipts.

A wait belongs to this process, and continues when its caller leaves. Another process that receives
a request for the same receipt starts its own wait, at its own read that saw the event. It needs
nothing from the first wait (Theorem 1). The first receipt that is stored is the receipt.
"""

import asyncio
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from rescind.core import lease, posture
from rescind.core.ledger import Position
from rescind.core.receipt import Receipt
from rescind.errors import MalformedMessageError, RescindError, TooLargeError
from rescind.wire import receipt_details, signed_envelope
from rescind.wire import receipts as wire
from rescind.wire.heartbeat import AckRequest
from rescind.wire.receipt_details import DetailsPage
from rescind.wire.trust_statement import Purpose
from rescind_authority.errors import AlteredReceiptError, LostError, StoreUnavailableError
from rescind_authority.ports.broadcast import AcknowledgementCaller
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.keys import Keys
from rescind_authority.ports.leases import Receipts, WaitSnapshot
from rescind_authority.ports.ledger import CommittedEvent, LedgerEntry
from rescind_authority.usecases.enforcement.acknowledgements import (
    AcknowledgementInbox,
    Acknowledgements,
)
from rescind_authority.usecases.enforcement.row_read_times import RowReadTimes
from rescind_authority.usecases.enforcement.wait import (
    EnforcementProgress,
    EnforcementWait,
    Missing,
    holds,
    lost,
)
from rescind_authority.usecases.revocations.hit_counts import AFTER_A_WAIT_S, Hits

_LOOK_AT_ROWS_NS = 250_000_000
_WATCH_S = 1.0
_RETRY_S = 0.1
_SILENT_NS = 3_600 * 10**9
_NS_PER_MS = 1_000_000

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class _Watched:
    version: int
    since_ns: int
    grace_ns: int
    ended: bool


@dataclass(frozen=True, slots=True)
class _Epoch:
    """An epoch, when this process first read it, and the longest wait since then."""

    number: int
    since_ns: int
    wait_ns: int


class PendingWait:
    """A wait whose state callers can query."""

    def __init__(self, target: CommittedEvent) -> None:
        self.target = target
        self.wait: EnforcementWait | None = None
        # None: a restore lost the revocation, so there is no receipt.
        self.envelope: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()


class Enforcer:
    """The waits of this process. They end only while `run` is running."""

    def __init__(
        self,
        receipts: Receipts,
        *,
        acknowledgements: Acknowledgements,
        keys: Keys,
        caller: AcknowledgementCaller,
        clock: Clock,
        hits: Hits | None = None,
    ) -> None:
        """Store the parts; `hits` counts the hit tokens for the receipt, None omits the count."""
        self._receipts = receipts
        self._acknowledgements = acknowledgements
        self._keys = keys
        self._caller = caller
        self._clock = clock
        self._hits = hits
        self._begun: asyncio.Queue[PendingWait] = asyncio.Queue()
        self._waits: dict[str, PendingWait] = {}
        self._watched: dict[bytes, _Watched] = {}
        self._epoch: _Epoch | None = None
        self._furthest = (0, 0)
        self._wait_ns = 0
        self._moments = RowReadTimes()

    @property
    def silent(self) -> int:
        """Number of instances without a heartbeat for a full wait.

        Instances that were released or evicted, or whose id two processes share, do not count.
        """
        now_ns = self._clock.monotonic_raw_ns()
        return sum(
            now_ns - each.since_ns >= self._wait_ns and not each.ended
            for each in self._watched.values()
        )

    async def run(self) -> None:
        """Run all waits, and watch the lease rows, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            while True:
                tasks.create_task(self._finish(await self._begun.get()))

    async def kept(self, revocation_id: str) -> bytes | None:
        """Return the stored receipt of a revocation, or None."""
        return await self._receipts.get(revocation_id)

    async def page(self, receipt: Receipt, *, cursor: int, limit: int) -> DetailsPage:
        """Return a page of a receipt's verifiers.

        If the receipt is a summary, the page comes from the stored details. Raises
        AlteredReceiptError if the stored details are not the signed ones.
        """
        numbers = receipt_details.span(receipt, cursor=cursor, limit=limit)
        chunks: tuple[bytes, ...] = ()
        if receipt.summary is not None:
            chunks = await self._receipts.details(receipt.revocation_id, numbers)
        try:
            return receipt_details.page(receipt, chunks, cursor=cursor, limit=limit)
        except MalformedMessageError as error:
            raise AlteredReceiptError(receipt.revocation_id, error.problem) from error

    def begin(self, target: CommittedEvent) -> PendingWait:
        """Start a wait for a committed event, or return the wait that is already running."""
        pending = self._waits.get(target.revocation_id)
        if pending is None:
            pending = self._waits[target.revocation_id] = PendingWait(target)
            self._begun.put_nowait(pending)
        return pending

    async def receipt(
        self, target: CommittedEvent, *, timeout_s: float
    ) -> bytes | EnforcementProgress:
        """Return the receipt's envelope, or the progress of the wait after `timeout_s`.

        No caller can have waited for a fresh event before. Raises LostError if a restore lost the
        event.
        """
        kept = None if target.fresh else await self.kept(target.revocation_id)
        if kept is not None:
            return kept
        pending = self.begin(target)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                envelope = await asyncio.shield(pending.envelope)
                if envelope is None:
                    raise LostError(target.revocation_id)
                return envelope
        if pending.wait is None:
            raise StoreUnavailableError("no primary answers that holds the revocation")
        now_ns = self._clock.monotonic_raw_ns()
        progress = pending.wait.progress(now_ns)
        return replace(
            progress, missing=tuple(self._silent(each, now_ns) for each in progress.missing)
        )

    def _silent(self, missing: Missing, now_ns: int) -> Missing:
        watched = self._watched.get(missing.instance)
        if watched is None:
            return missing
        return replace(missing, silent_s=(now_ns - watched.since_ns) / 1e9)

    async def _finish(self, pending: PendingWait) -> None:
        try:
            with self._acknowledgements.listening() as listener:
                wait = await self._begin(pending)
                # Read the entries while the acknowledgements arrive.
                entries = await self._entries_of(pending.target) if wait else ()
                if wait is None or not entries:
                    pending.envelope.set_result(None)
                    return
                async with asyncio.TaskGroup() as tasks:
                    counting = tasks.create_task(self._hit(entries))
                    await self._until_over(wait, listener, entries)
                    enforced_ns = self._clock.monotonic_raw_ns()
                    await asyncio.wait({counting}, timeout=AFTER_A_WAIT_S)
                    counting.cancel()
            hit = None if counting.cancelled() else counting.result()
            receipt = replace(wait.receipt(enforced_ns), hit=hit)
            pending.envelope.set_result(await self._keep(wait, receipt, entries))
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

    async def _begin(self, pending: PendingWait) -> EnforcementWait | None:
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
            if holds(target, seen):
                break
            if lost(target, seen):
                return None
            await asyncio.sleep(_RETRY_S)
        self._note(seen, seen_ns)
        pending.wait = wait = EnforcementWait(
            target,
            seen,
            seen_ns=seen_ns,
            unchanged_since_ns={
                instance: watched.since_ns
                for instance, watched in self._watched.items()
                if (row := seen.rows.get(instance)) and row.version == watched.version
            },
            rows_count=self._rows_count(seen, seen_ns),
            unknown_until_ns=self._unknown_until_ns(seen),
            acknowledged_ns=self._moments.acknowledged(
                seen.rows, epoch=target.epoch, seq=target.seq
            ),
            complete=self._moments.complete(epoch=target.epoch, seq=target.seq, now_ns=seen_ns),
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
                if await self._lost(target):
                    return ()
            await asyncio.sleep(_RETRY_S)

    async def _lost(self, target: CommittedEvent) -> bool:
        """Return True if a new snapshot proves that the event is lost. Raises RescindError."""
        return lost(target, await self._receipts.waiting(target.revocation_id))

    async def _until_over(
        self, wait: EnforcementWait, listener: AcknowledgementInbox, entries: Sequence[LedgerEntry]
    ) -> None:
        heads = {each.event.seq: (each.event.epoch, each.head) for each in entries}
        await self._take(wait, wait.pending, heads)
        look_ns = self._clock.monotonic_raw_ns() + _LOOK_AT_ROWS_NS
        while not wait.over(now_ns := self._clock.monotonic_raw_ns()):
            # The clock decides: a stream of acknowledgements must not delay the look at the rows.
            if now_ns >= look_ns:
                await self._look_at_rows(wait)
                look_ns = self._clock.monotonic_raw_ns() + _LOOK_AT_ROWS_NS
                continue
            left_ns = min(look_ns, wait.ends_ns) - now_ns
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.001, left_ns / 1e9)):
                    await listener.stirred.wait()
                await self._take(wait, wait.pending & listener.take(), heads)

    async def _hit(self, entries: Sequence[LedgerEntry]) -> int | None:
        """Count the hit tokens while the wait runs; return None without a count."""
        if self._hits is None:
            return None
        hit = await self._hits.of(entries[-1].event, killed=len(entries) > 1)
        return None if hit is None else hit.tokens

    async def _look_at_rows(self, wait: EnforcementWait) -> None:
        """Count heartbeats and releases from the lease rows.

        They stand in for acknowledgements that did not reach this process.
        """
        try:
            seen = await self._receipts.waiting(wait.target.revocation_id)
        except RescindError:
            return  # the full wait needs no rows
        if wait.counts(seen):
            wait.rows(seen.rows, now_ns=self._clock.monotonic_raw_ns())

    async def _take(
        self,
        wait: EnforcementWait,
        instances: AbstractSet[bytes],
        heads: dict[int, tuple[int, bytes]],
    ) -> None:
        """Count acknowledgements whose head is the ledger's own at their seq."""
        target = wait.target
        heard = {
            instance: heard
            for instance in instances
            if (heard := self._acknowledgements.of(instance)) is not None
            and heard.applied.epoch == target.epoch
            and heard.applied.seq >= target.seq
        }
        unknown = {each.applied.seq for each in heard.values()} - heads.keys()
        if unknown:
            try:
                found = await self._receipts.heads(unknown | {target.seq})
            except RescindError:
                return  # heartbeats repeat the acknowledgements, in the rows
            # A chain with the event at its place also proves the events after it. A chain without
            # it may be an old primary's, with events that were never confirmed.
            if found.get(target.seq) == heads[target.seq]:
                heads.update(found)
        for instance, each in heard.items():
            if _is_ours(each.applied, heads):
                wait.acknowledged(instance, heard_ns=each.heard_ns, nonces=each.nonces)

    async def _keep(
        self, wait: EnforcementWait, receipt: Receipt, entries: Sequence[LedgerEntry]
    ) -> bytes | None:
        receipt = replace(receipt, payloads=tuple(each.payload for each in entries))
        # Data that is too large raises an error here, before anything is signed.
        stated, chunks = receipt_details.divide(receipt)
        envelope = signed_envelope.encode(self._keys.sign(Purpose.RECEIPTS, wire.encode(stated)))
        while True:
            # If the outcome of a commit is unknown, store again: the commit of the repeat decides.
            with suppress(RescindError):
                kept = await self._receipts.keep(
                    receipt.revocation_id,
                    enforced_at_us=receipt.enforced_at_us,
                    envelope=envelope,
                    chunks=chunks,
                )
                if kept is not None or await self._lost(wait.target):
                    self._tell(receipt.revocation_id, kept)
                    return kept
            await asyncio.sleep(_RETRY_S)

    def _tell(self, revocation_id: str, kept: bytes | None) -> None:
        if kept is not None:
            _log.info("enforced", action="revocation.enforced", id=revocation_id)
        else:
            _log.error(
                "the ledger was set back while this was waited for: there is no receipt",
                action="revocation.lost",
                id=revocation_id,
            )

    async def _watch(self) -> None:
        """Read the lease rows once a second.

        An instance whose row does not change for a full wait has lapsed.
        """
        while True:
            with suppress(RescindError):
                # Read the clock after the rows: a version is watched from a time when it certainly
                # existed.
                seen = await self._receipts.waiting()
                self._note(seen, self._clock.monotonic_raw_ns())
                self._wait_ns = lease.wait_ns(seen.wait_term_ms)
                await self._sweep(self._wait_ns)
                await self._settle(seen)
            await asyncio.sleep(_WATCH_S)

    async def _sweep(self, wait_ns: int) -> None:
        """Delete instances without a heartbeat for an hour, and for longer than lease and grace."""
        now_ns = self._clock.monotonic_raw_ns()
        silent = {
            instance: watched.version
            for instance, watched in self._watched.items()
            if now_ns - watched.since_ns >= max(_SILENT_NS, wait_ns + watched.grace_ns)
        }
        if silent:
            await self._receipts.sweep(silent)

    def _note(self, seen: WaitSnapshot, now_ns: int) -> None:
        if (seen.epoch, seen.seq) < self._furthest:
            return  # an old server, on which no row changes
        self._furthest = seen.epoch, seen.seq
        self._moments.note(seen, now_ns)
        known, self._watched = self._watched, {}
        for instance, row in seen.rows.items():
            watched = known.get(instance)
            if watched is None or watched.version != row.version:
                grace_ns = lease.grace_wait_ns(posture.longest_ns(row.posture))
                ended = row.released or row.shared
                watched = _Watched(row.version, now_ns, grace_ns, ended)
            self._watched[instance] = watched
        wait_ns = lease.wait_ns(seen.wait_term_ms)
        if self._epoch is None or self._epoch.number != seen.epoch:
            self._epoch = _Epoch(seen.epoch, now_ns, wait_ns)
        elif self._epoch.wait_ns < wait_ns:
            self._epoch = replace(self._epoch, wait_ns=wait_ns)

    def _rows_count(self, seen: WaitSnapshot, now_ns: int) -> bool:
        """Return True if the rows can be those of this ledger.

        A restored backup brings old rows. For one full wait after an epoch began, receipts rest on
        Theorem 1 alone (design 4).
        """
        if seen.epoch == 1 or self._epoch is None:
            return True
        return now_ns - self._epoch.since_ns >= lease.wait_ns(seen.wait_term_ms)

    def _unknown_until_ns(self, seen: WaitSnapshot) -> int | None:
        """Return until when a verifier that the rows lack may be in grace, or None.

        None means that no such verifier exists. The last lease of another epoch was requested
        before this epoch began, and so before this process first read the epoch. The time counts
        from that read by the clock of this process, because Postgres's clock may be set, and the
        times of an earlier authority are not kept. So each restart of an authority starts the count
        again, until one authority has counted to the end and stored that with the epoch.
        """
        if seen.unknown_grace_ms is None or self._epoch is None:
            return None
        known_ns = max((watched.grace_ns for watched in self._watched.values()), default=0)
        unknown_ns = lease.grace_wait_ns(seen.unknown_grace_ms * _NS_PER_MS)
        return self._epoch.since_ns + self._epoch.wait_ns + max(known_ns, unknown_ns)

    async def _settle(self, seen: WaitSnapshot) -> None:
        until_ns = self._unknown_until_ns(seen)
        if until_ns is not None and self._clock.monotonic_raw_ns() >= until_ns:
            await self._receipts.settle_epoch(seen.epoch)


def _is_ours(applied: Position, heads: dict[int, tuple[int, bytes]]) -> bool:
    return heads.get(applied.seq) == (applied.epoch, applied.head)
