"""Recovery offers: signed batches of an earlier epoch, offered to a restored ledger.

A backup lacks the revocations since it was made. The sidecars received them: after a restore, each
sidecar offers the batches that it still has, in the order of the ledger and the newest first, until
the authority has the rest (design 4). The order of arrival is not used: NATS keeps an order for
each connection only, so that the batches of two authorities may overtake each other.
"""

import asyncio
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

import structlog

from rescind.errors import UnreachableError
from rescind.wire import recovery_offer
from rescind.wire.events import Batch
from rescind_sidecar.ports import AuthorityLink
from rescind_sidecar.usecases.instance import SidecarInstances

MOST_BYTES = 8 << 20
_RETRY_S = 1.0
_MOST_ATTEMPTS = 30

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True, eq=False)
class _StoredBatch:
    """A batch as it was received, its place, and the instance that was current at that time.

    `before` and `after` are the ledger's heads before and after the batch: they chain it to the
    previous and the next batch.
    """

    epoch: int
    first_seq: int
    before: bytes
    after: bytes
    instance: bytes
    payload: bytes


class RecoveryOffers:
    """Store the latest signed batches, as they were received."""

    def __init__(
        self, instances: SidecarInstances, link: AuthorityLink, *, most_bytes: int = MOST_BYTES
    ) -> None:
        self._instances = instances
        self._link = link
        self._most_bytes = most_bytes
        self._kept: deque[_StoredBatch] = deque()
        self._bytes = 0
        self._due = asyncio.Event()

    def keep(self, batch: Batch, payload: bytes) -> None:
        """Store a batch whose signature is good; above the bound, drop the oldest ones."""
        self._kept.append(
            _StoredBatch(
                epoch=batch.epoch,
                first_seq=batch.first_seq,
                before=batch.before,
                after=batch.after,
                instance=self._instances.current.instance,
                payload=payload,
            )
        )
        self._bytes += len(payload)
        while self._bytes > self._most_bytes:
            self._bytes -= len(self._kept.popleft().payload)

    def note_epoch(self, epoch: int) -> None:
        """Record the ledger's epoch: it may have lost events of an earlier one."""
        if any(kept.epoch < epoch for kept in self._kept):
            self._due.set()

    async def run(self) -> None:
        """Send due offers until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            await self._offer_all()

    async def _offer_all(self) -> None:
        """Offer every batch of an earlier epoch; keep those without an answer for the next time.

        A batch that the ledger has proves that it has the previous batch, too, by the hash chain.
        That one needs no offer. Other batches below it may be of another history, from which the
        ledger was set back. Each gap in the pushed batches costs one more offer.
        """
        epoch = self._instances.current.epoch
        if epoch is None:
            return
        offered, over, proven = 0, set[_StoredBatch](), set[tuple[bytes, bytes]]()
        earlier = [kept for kept in reversed(self._kept) if kept.epoch < epoch]
        for each in sorted(earlier, key=_place, reverse=True):
            held = (each.instance, each.after) in proven
            if not held:
                taken = await self._offer(each.payload)
                if taken is None:
                    continue
                offered += 1
                held = not taken.wanted
            over.add(each)
            if held:
                proven.add((each.instance, each.before))
        self._forget(over)
        if offered:
            _log.warning(
                "offered the ledger what it may have lost in a restore",
                action="events.offered",
                epoch=epoch,
                batches=offered,
            )

    def _forget(self, over: Collection[_StoredBatch]) -> None:
        self._kept = deque(kept for kept in self._kept if kept not in over)
        self._bytes = sum(len(kept.payload) for kept in self._kept)

    async def _offer(self, payload: bytes) -> recovery_offer.OfferAnswer | None:
        """Offer one batch until an authority answers; return None after half a minute without."""
        for _ in range(_MOST_ATTEMPTS):
            credentials = self._instances.current.credentials
            if credentials is not None:
                with suppress(UnreachableError):  # the next attempt may reach an authority
                    return await self._link.offer(
                        recovery_offer.Offer(credentials.instance, payload), credentials
                    )
            await asyncio.sleep(_RETRY_S)
        return None


def _place(kept: _StoredBatch) -> tuple[int, int]:
    return kept.epoch, kept.first_seq
