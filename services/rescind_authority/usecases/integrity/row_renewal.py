"""Write the newest key's MAC to each row after `rescind keys rotate rows`, in the background."""

import asyncio
from typing import Protocol

import structlog

from rescind.errors import RescindError
from rescind_authority.ports.keys import Keys

_POLL_S = 2.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class Rewriter(Protocol):
    """The writer of row MACs."""

    async def renew(self) -> int:
        """Rewrite the MACs of rows of a former key. Return how many were rewritten."""
        ...


class RowRenewal:
    """Rewrite the rows after each change of the key. Every authority does this.

    An interrupted pass starts again: rows that have the new MAC are only read.
    """

    def __init__(self, rewriter: Rewriter, *, keys: Keys) -> None:
        self._rewriter = rewriter
        self._keys = keys
        self._done: bytes | None = None

    async def run(self) -> None:
        """Rewrite the rows after each change of the key, until cancelled."""
        while True:
            await self.step()
            await asyncio.sleep(_POLL_S)

    async def step(self) -> None:
        """Rewrite the rows if the newest key replaced another and is new to this process."""
        newest, *former = self._keys.rows
        if not former or newest == self._done:
            return
        try:
            written = await self._rewriter.renew()
        except RescindError:
            return  # Postgres is unreachable or contended: the next step starts again
        self._done = newest
        if written:  # none in the minute in which the newest key is only announced
            _log.info("rows have the MAC of the newest key", action="rows.renewed", rows=written)
