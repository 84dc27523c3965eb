"""Delete idempotency keys with their answers, a day after their first use."""

import asyncio

from rescind.errors import RescindError
from rescind_authority import actors
from rescind_authority.ports.revocations import Sweeps

KEPT_S = 24 * 3600
_POLL_S = 60.0
_MAX_AT_ONCE = 1_000
# A lost event may be offered after weeks, and a rotated secret may be presented after weeks.
# Neither may be committed twice.
_KEPT_FOR_EVER = (actors.RECOVERY, actors.REUSE_DETECTION)


class IdempotencyKeyReaper:
    """Delete each key when no caller may repeat its command any more."""

    def __init__(self, sweeps: Sweeps) -> None:
        self._sweeps = sweeps

    async def run(self) -> None:
        """Delete old keys, until cancelled."""
        while True:
            try:
                deleted = await self.step()
            except RescindError:
                deleted = 0  # Postgres is unreachable, which is logged elsewhere
            await asyncio.sleep(0 if deleted == _MAX_AT_ONCE else _POLL_S)

    async def step(self) -> int:
        """Delete some old keys, and return how many."""
        return await self._sweeps.forget_keys(
            older_than_s=KEPT_S, but=_KEPT_FOR_EVER, most=_MAX_AT_ONCE
        )
