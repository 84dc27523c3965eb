"""Keep what the authority signed, and offer it to a ledger that was restored without it.

A backup lacks the revocations since it was made. Sidecars heard them: after a restore each offers
the batches that it still has, newest first, until the authority knows the rest (design 4).
"""

import asyncio
from collections import deque

import structlog

from rescind.errors import UnreachableError
from rescind.wire import offer
from rescind.wire.events import Batch
from rescind_sidecar.ports import Link
from rescind_sidecar.usecases.incarnations import Incarnations

MOST_BYTES = 8 << 20
_RETRY_S = 1.0
_MOST_ATTEMPTS = 300

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class Offers:
    """Remember the latest signed batches, as they came."""

    def __init__(
        self, incarnations: Incarnations, link: Link, *, most_bytes: int = MOST_BYTES
    ) -> None:
        self._incarnations = incarnations
        self._link = link
        self._most_bytes = most_bytes
        self._kept: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._due = asyncio.Event()

    def keep(self, batch: Batch, payload: bytes) -> None:
        """Remember a batch whose signature is good; the oldest make room."""
        self._kept.append((batch.epoch, payload))
        self._bytes += len(payload)
        while self._bytes > self._most_bytes:
            self._bytes -= len(self._kept.popleft()[1])

    def met(self, epoch: int) -> None:
        """Hear which epoch the ledger is in: what is of an earlier one may be lost to it."""
        if self._kept and self._kept[0][0] < epoch:
            self._due.set()

    async def run(self) -> None:
        """Offer what is due, for as long as the process lives."""
        while True:
            await self._due.wait()
            self._due.clear()
            await self._offer_all()

    async def _offer_all(self) -> None:
        epoch = self._incarnations.current.epoch
        if epoch is None:
            return
        old = [payload for kept, payload in self._kept if kept < epoch]
        self._kept = deque(each for each in self._kept if each[0] >= epoch)
        self._bytes = sum(len(payload) for _, payload in self._kept)
        offered = 0
        for payload in reversed(old):
            offered += 1
            if not await self._offer(payload):
                break
        _log.warning(
            "offered the ledger what it may have lost in a restore",
            action="events.offered",
            epoch=epoch,
            batches=offered,
        )

    async def _offer(self, payload: bytes) -> bool:
        """Offer one batch until it is taken; say whether older ones are wanted too."""
        for _ in range(_MOST_ATTEMPTS):
            voice = self._incarnations.current.voice
            if voice is not None:
                try:
                    taken = await self._link.offer(offer.Offer(voice.instance, payload), voice)
                except UnreachableError:
                    pass  # another authority, or the same one in a moment
                else:
                    return taken.wanted
            await asyncio.sleep(_RETRY_S)
        return False
