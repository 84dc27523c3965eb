"""Sessions: whoever bears one sees the others of the same subject, and logs out of them.

A session is a token of kind `session`. It needs no admin: it may end itself, and what speaks for
its own subject, and nothing else.
"""

from dataclasses import dataclass

from rescind.core.handles import Handle, Selector, select
from rescind.core.record import Record
from rescind.core.revocation import Effect, Revocation
from rescind.core.tokens import Kind
from rescind_authority.errors import NotASessionError, NotFoundError
from rescind_authority.ports.keys import Entropy
from rescind_authority.ports.ledger import Claim
from rescind_authority.ports.lists import TokenFilter
from rescind_authority.usecases import naming
from rescind_authority.usecases.authorise import actor_name
from rescind_authority.usecases.look import Looker, SeenToken, State
from rescind_authority.usecases.revoke import Done
from rescind_authority.usecases.sequence import Command, Sequencer
from rescind_runtime.clock import Clock

MOST_SHOWN = 200

_SESSIONS = Handle(f"kind:{Kind.SESSION}")


@dataclass(frozen=True, slots=True)
class LogOut:
    """What is to end: one session by its id, the bearer's own (None), or all of its subject."""

    token_id: str | None = None
    everywhere: bool = False
    awaited: bool = False


class Sessions:
    """Show sessions to their owner, and end them."""

    def __init__(
        self, looker: Looker, *, sequencer: Sequencer, clock: Clock, entropy: Entropy
    ) -> None:
        self._looker = looker
        self._sequencer = sequencer
        self._clock = clock
        self._entropy = entropy

    async def of(self, bearer: Record) -> tuple[SeenToken, ...]:
        """List the sessions of the bearer's subject that are good now, newest first."""
        _require_session(bearer)
        wanted = TokenFilter((Handle(f"subject:{bearer.subject}"), _SESSIONS), State.ACTIVE)
        return (await self._looker.tokens(wanted, before=None, limit=MOST_SHOWN))[0]

    async def log_out(self, wish: LogOut, *, bearer: Record, claim: Claim) -> Done:
        """End sessions and what came of them. Raises NotFoundError, NotASessionError."""
        _require_session(bearer)
        selector = await self._selector(wish, bearer)
        revocation = Revocation(
            revocation_id=naming.name("rev", self._clock, self._entropy),
            selector=selector,
            effect=Effect.REVOKE,
            reason="logged out everywhere" if wish.everywhere else "logged out",
            actor=actor_name(bearer.subject, bearer.token_id),
        )
        committed = await self._sequencer.commit(
            Command(claim, revocation, exact=False, awaited=wish.awaited)
        )
        return Done(committed, revocation, exact=False)

    async def _selector(self, wish: LogOut, bearer: Record) -> Selector:
        if wish.everywhere:
            return select([f"subject:{bearer.subject}", _SESSIONS])
        token_id = wish.token_id or bearer.token_id
        if token_id != bearer.token_id:
            seen = (await self._looker.token(token_id)).token
            if (seen.subject, seen.kind) != (bearer.subject, Kind.SESSION):
                # As if it were not there: whose it is is nobody else's business.
                raise NotFoundError("session", token_id)
        return select([f"token:{token_id}"])


def _require_session(bearer: Record) -> None:
    if bearer.kind is not Kind.SESSION:
        raise NotASessionError(bearer.kind)
