"""Reuse: a rotated secret comes again after its overlap, so two hold it, and one is a thief.

Nobody can tell which of them it is, so the token ends with all that was delegated from it (of
refresh tokens RFC 6749, section 10.4, and RFC 9700, section 4.14.2, say so).
"""

import asyncio
import hashlib

import structlog

from rescind.core.handles import select
from rescind.core.revocation import Effect, Revocation
from rescind.errors import RescindError
from rescind_authority.ports.keys import Entropy
from rescind_authority.ports.ledger import Claim, Key
from rescind_authority.ports.tokens import Snapshot
from rescind_authority.usecases import naming
from rescind_authority.usecases.sequence import Command, Sequencer
from rescind_runtime.clock import Clock

ACTOR = "rescind:reuse"

LEEWAY_US = 30_000_000
"""Who asked before the rotation and comes with the old secret a moment after it is no thief."""

_MOST_WAITING = 1_024
_RETRY_S = 1.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class Reuse:
    """Watch the look-ups, and end a token whose old secret is used."""

    def __init__(self, sequencer: Sequencer, *, clock: Clock, entropy: Entropy) -> None:
        self._sequencer = sequencer
        self._clock = clock
        self._entropy = entropy
        self._found: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(_MOST_WAITING)

    def saw(self, snapshot: Snapshot) -> None:
        """Take note of what was looked up; costs nothing where no secret is a retired one."""
        for state in snapshot.tokens:
            token, retired = state.token, state.token.retired
            if retired is None or not retired.revokes or self._found.full():
                continue  # full: it will come again
            if snapshot.at_us > retired.good_until_us + LEEWAY_US:
                self._found.put_nowait((token.token_id, token.token_hash))

    async def run(self) -> None:
        """End what was found, until cancelled."""
        while True:
            token_id, token_hash = await self._found.get()
            try:
                await self._end(token_id, token_hash)
            except RescindError:
                await asyncio.sleep(_RETRY_S)  # Postgres is away; the secret is denied meanwhile

    async def _end(self, token_id: str, token_hash: bytes) -> None:
        revocation_id = naming.name("rev", self._clock, self._entropy)
        revocation = Revocation(
            revocation_id=revocation_id,
            selector=select([f"token:{token_id}"]),
            effect=Effect.REVOKE,
            reason="a secret was used after it was rotated: two hold it",
            actor=ACTOR,
        )
        # One event for each retired secret, however often and wherever it is used.
        claim = Claim(Key(ACTOR, token_hash.hex()), hashlib.sha256(token_hash).digest())
        committed = await self._sequencer.commit(Command(claim, revocation, exact=False))
        if committed.revocation_id == revocation_id:
            _log.warning("a rotated secret was used", action="token.reused", token_id=token_id)
