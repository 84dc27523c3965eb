"""Keep what the authority signed, and offer it to a ledger that was restored without it.

A backup lacks the revocations since it was made. Sidecars heard them: after a restore each offers
the batches that it still has, newest first, until the authority knows the rest (design 4).
"""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

import structlog

from rescind.errors import UnreachableError
from rescind.wire import offer
from rescind.wire.events import Batch
from rescind_sidecar.ports import Link
from rescind_sidecar.usecases.incarnations import Incarnations

MOST_BYTES = 8 << 20
_RETRY_S = 1.0
_MOST_ATTEMPTS = 30

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class _Kept:
    """A batch as it came, and the instance of ours that followed the ledger then."""

    epoch: int
    instance: bytes
    payload: bytes


class Offers:
    """Remember the latest signed batches, as they came."""

    def __init__(
        self, incarnations: Incarnations, link: Link, *, most_bytes: int = MOST_BYTES
    ) -> None:
        self._incarnations = incarnations
        self._link = link
        self._most_bytes = most_bytes
        self._kept: deque[_Kept] = deque()
        self._bytes = 0
        self._due = asyncio.Event()

    def keep(self, batch: Batch, payload: bytes) -> None:
        """Remember a batch whose signature is good; the oldest make room."""
        instance = self._incarnations.current.instance
        self._kept.append(_Kept(batch.epoch, instance, payload))
        self._bytes += len(payload)
        while self._bytes > self._most_bytes:
            self._bytes -= len(self._kept.popleft().payload)

    def met(self, epoch: int) -> None:
        """Hear which epoch the ledger is in: what is of an earlier one may be lost to it."""
        if self._kept and self._kept[0].epoch < epoch:
            self._due.set()

    async def run(self) -> None:
        """Offer what is due, for as long as the process lives."""
        while True:
            await self._due.wait()
            self._due.clear()
            await self._offer_all()

    async def _offer_all(self) -> None:
        """Offer every batch of an earlier epoch; what nobody answers is kept for the next time.

        Where the ledger has a batch, it has all that the same instance followed before it: not
        what another one followed, for the ledger may have been set back between the two.
        """
        epoch = self._incarnations.current.epoch
        if epoch is None:
            return
        offered, known = 0, set[bytes]()
        for each in [kept for kept in reversed(self._kept) if kept.epoch < epoch]:
            if each.instance not in known:
                taken = await self._offer(each.payload)
                if taken is None:
                    continue
                offered += 1
                if not taken.wanted:
                    known.add(each.instance)
            self._forget(each)
        if offered:
            _log.warning(
                "offered the ledger what it may have lost in a restore",
                action="events.offered",
                epoch=epoch,
                batches=offered,
            )

    def _forget(self, kept: _Kept) -> None:
        if kept in self._kept:  # else it made room meanwhile
            self._kept.remove(kept)
            self._bytes -= len(kept.payload)

    async def _offer(self, payload: bytes) -> offer.Taken | None:
        """Offer one batch until somebody answers; None where nobody does for half a minute."""
        for _ in range(_MOST_ATTEMPTS):
            voice = self._incarnations.current.voice
            if voice is not None:
                with suppress(UnreachableError):  # another authority, or the same in a moment
                    return await self._link.offer(offer.Offer(voice.instance, payload), voice)
            await asyncio.sleep(_RETRY_S)
        return None
