"""Detect reuse: a rotated secret is presented after its overlap.

Two parties then hold the secret, and one of them is a thief. The authority cannot determine which
one, so the token ends with all tokens delegated from it, as RFC 6749, section 10.4, and RFC 9700,
section 4.14.2, specify for refresh tokens. That is final, so it needs a proof that the secret was
presented, and that this was after its end:

* The SHA-256 of a token is not a secret: it names keys in Redis, is in every look-up, and in the
  table. The proof is `token_format.possession`, of which the table has only the SHA-256.
* A look-up that was recorded before the rotation contains the position that was applied then, which
  is below that of the event that ended the secret. A look-up from within the leeway contains its
  time.
"""

import asyncio
import hashlib
import hmac
from dataclasses import dataclass

import structlog

from rescind.core.handles import select
from rescind.core.revocation import Effect, Revocation
from rescind.core.token_format import REUSE_LEEWAY_US
from rescind.errors import RescindError
from rescind_authority import actors
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.keys import Entropy
from rescind_authority.ports.ledger import IdempotentRequest, Key
from rescind_authority.ports.tokens import StoredToken
from rescind_authority.usecases.ledger import new_ids
from rescind_authority.usecases.ledger.sequencer import LedgerCommand, Sequencer
from rescind_runtime.log_throttle import LogThrottle

_MAX_WAITING = 1_024
_RETRY_S = 1.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class PresentedToken:
    """A token that was presented where the ledger was applied up to `seq`.

    `possession` is derived from the token's text. `at_us` is a time (Unix µs of the ledger) that
    had been reached.
    """

    possession: bytes
    seq: int
    at_us: int


class ReuseDetector:
    """Watch the look-ups, and end a token whose old secret is used."""

    def __init__(self, sequencer: Sequencer, *, clock: Clock, entropy: Entropy) -> None:
        self._sequencer = sequencer
        self._clock = clock
        self._entropy = entropy
        self._reused: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(_MAX_WAITING)
        self._unproven = LogThrottle()

    def check(self, token: StoredToken, presented: PresentedToken) -> None:
        """Queue a token for its end if a secret was presented after the end of that secret."""
        retired, ended = token.retired, token.ended
        if retired is None or not retired.revokes or self._reused.full():
            return  # if the queue is full: a secret in use is presented again
        if ended is not None and presented.seq < ended.seq:
            return
        if presented.at_us <= retired.good_until_us + REUSE_LEEWAY_US:
            return
        if _is_proven(presented, retired.possession_hash):
            self._reused.put_nowait((token.grant.token_id, token.token_hash))
        else:
            self._log_unproven(token, unknowable=retired.possession_hash is None)

    def _log_unproven(self, token: StoredToken, *, unknowable: bool) -> None:
        withheld = self._unproven.due(self._clock.monotonic_raw_ns())
        if withheld is None:
            return
        why = (
            "was issued before migration 0018"
            if unknowable
            else "came without a valid possession proof"
        )
        _log.warning(
            f"a look-up reports the use of a rotated secret; it {why}, so no token ends",
            action="token.reuse_unproven",
            token_id=token.grant.token_id,
            withheld=withheld,
        )

    async def run(self) -> None:
        """End the queued tokens, until cancelled."""
        while True:
            token_id, token_hash = await self._reused.get()
            try:
                await self._end(token_id, token_hash)
            except RescindError:
                # Postgres is unreachable; the secret is denied meanwhile.
                await asyncio.sleep(_RETRY_S)

    async def _end(self, token_id: str, token_hash: bytes) -> None:
        revocation_id = new_ids.generate("rev", self._clock, self._entropy)
        revocation = Revocation(
            revocation_id=revocation_id,
            selector=select([f"token:{token_id}"]),
            effect=Effect.REVOKE,
            reason="a secret was used after it was rotated: two hold it",
            actor=actors.REUSE_DETECTION,
        )
        # One event for each retired secret, however often and wherever it is used.
        idempotency = IdempotentRequest(
            Key(actors.REUSE_DETECTION, token_hash.hex()), hashlib.sha256(token_hash).digest()
        )
        committed = await self._sequencer.commit(
            LedgerCommand(idempotency, revocation, exact=False)
        )
        if committed.revocation_id == revocation_id:
            _log.warning("a rotated secret was used", action="token.reused", token_id=token_id)


def _is_proven(presented: PresentedToken, possession_hash: bytes | None) -> bool:
    if possession_hash is None:
        return False
    return hmac.compare_digest(hashlib.sha256(presented.possession).digest(), possession_hash)
