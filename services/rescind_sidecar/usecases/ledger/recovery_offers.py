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

MAX_BYTES = 8 << 20
_RETRY_S = 1.0
_MAX_ATTEMPTS = 30

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
        self, instances: SidecarInstances, link: AuthorityLink, *, most_bytes: int = MAX_BYTES
    ) -> None:
        self._instances = instances
        self._link = link
        self._most_bytes = most_bytes
        self._batches: deque[_StoredBatch] = deque()
        self._bytes = 0
        self._due = asyncio.Event()

    def keep(self, batch: Batch, payload: bytes) -> None:
        """Store a batch whose signature is valid; above the bound, drop the oldest ones."""
        self._batches.append(
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
            self._bytes -= len(self._batches.popleft().payload)

    def note_epoch(self, epoch: int) -> None:
        """Record the ledger's epoch: it may have lost events of an earlier one."""
        if any(batch.epoch < epoch for batch in self._batches):
            self._due.set()

    async def run(self) -> None:
        """Send due offers until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            await self._offer_all()

    async def _offer_all(self) -> None:
        """Offer every batch of an earlier epoch; keep those without an answer for the next time.

        If the ledger contains a batch, the hash chain proves that it contains the previous batch
        too, which needs no offer. Other earlier batches may be of another history, from which the
        ledger was set back. Each gap in the pushed batches costs one more offer.
        """
        epoch = self._instances.current.epoch
        if epoch is None:
            return
        count, finished, proven = 0, set[_StoredBatch](), set[tuple[bytes, bytes]]()
        earlier = [batch for batch in reversed(self._batches) if batch.epoch < epoch]
        for batch in sorted(earlier, key=_sort_key, reverse=True):
            is_proven = (batch.instance, batch.after) in proven
            if not is_proven:
                answer = await self._offer(batch.payload)
                if answer is None:
                    continue
                count += 1
                is_proven = not answer.wanted
            finished.add(batch)
            if is_proven:
                proven.add((batch.instance, batch.before))
        self._forget(finished)
        if count:
            _log.warning(
                "offered events that the ledger may have lost in a restore",
                action="events.offered",
                epoch=epoch,
                batches=count,
            )

    def _forget(self, finished: Collection[_StoredBatch]) -> None:
        self._batches = deque(batch for batch in self._batches if batch not in finished)
        self._bytes = sum(len(batch.payload) for batch in self._batches)

    async def _offer(self, payload: bytes) -> recovery_offer.OfferAnswer | None:
        """Offer one batch until an authority answers; return None after half a minute without."""
        for _ in range(_MAX_ATTEMPTS):
            credentials = self._instances.current.credentials
            if credentials is not None:
                with suppress(UnreachableError):  # the next attempt may reach an authority
                    return await self._link.offer(
                        recovery_offer.Offer(credentials.instance, payload), credentials
                    )
            await asyncio.sleep(_RETRY_S)
        return None


def _sort_key(batch: _StoredBatch) -> tuple[int, int]:
    return batch.epoch, batch.first_seq
