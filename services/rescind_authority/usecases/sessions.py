"""List the sessions of a subject, and log out of them.

A session is a token of kind `session`. Its bearer can list the other sessions of the same subject,
and log out of them, without an administrator. A session can end itself and the sessions of its own
subject, and nothing else. A delegated session can end only itself.
"""

from dataclasses import dataclass

from rescind.core.handles import Handle, kind_of, select
from rescind.core.record import Record
from rescind.core.revocation import Effect, Event, Revocation
from rescind.core.token_format import Kind
from rescind_authority.errors import NotASessionError, NotFoundError
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.keys import Entropy
from rescind_authority.ports.ledger import IdempotentRequest
from rescind_authority.ports.revocations import StoredRevocation
from rescind_authority.ports.token_search import TokenFilter
from rescind_authority.usecases.access.authoriser import actor_name
from rescind_authority.usecases.access.change_budgets import Budgets, Cost
from rescind_authority.usecases.ledger import new_ids
from rescind_authority.usecases.ledger.sequencer import LedgerCommand, Sequencer
from rescind_authority.usecases.read_model.inspector import Inspector, SeenToken, State

MAX_SHOWN = 200

_SESSIONS = Handle(f"kind:{Kind.SESSION}")


@dataclass(frozen=True, slots=True)
class LogOutCommand:
    """The sessions to end: one by its id, the bearer's own (None), or all of its subject."""

    token_id: str | None = None
    everywhere: bool = False
    awaited: bool = False


class Sessions:
    """List the sessions of a bearer's subject, and end them."""

    def __init__(
        self,
        inspector: Inspector,
        *,
        sequencer: Sequencer,
        budgets: Budgets,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._inspector = inspector
        self._budgets = budgets
        self._sequencer = sequencer
        self._clock = clock
        self._entropy = entropy

    async def list_active(self, bearer: Record) -> tuple[SeenToken, ...]:
        """List the active sessions of the bearer's subject, newest first."""
        _require_owner(bearer)
        token_filter = TokenFilter((Handle(f"subject:{bearer.subject}"), _SESSIONS), State.ACTIVE)
        return (await self._inspector.tokens(token_filter, before=None, limit=MAX_SHOWN))[0]

    async def log_out(
        self, command: LogOutCommand, *, bearer: Record, idempotency: IdempotentRequest
    ) -> StoredRevocation:
        """End sessions and the tokens delegated from them.

        If the named session has already ended, return the revocation that ended it. Raises
        NotFoundError, NotASessionError, TooManyChangesError.
        """
        if command.everywhere or command.token_id not in {None, bearer.token_id}:
            _require_owner(bearer)
        else:
            _require_session(bearer)
        token_id = command.token_id or bearer.token_id
        last = command.everywhere or token_id == bearer.token_id
        ended_by = None if last else await self._find_end(token_id, bearer)
        if ended_by is not None:
            return ended_by
        self._budgets.take(bearer, Cost.EVENT, last=last)
        selector = (
            select([f"subject:{bearer.subject}", _SESSIONS])
            if command.everywhere
            else select([f"token:{token_id}"])
        )
        revocation = Revocation(
            revocation_id=new_ids.generate("rev", self._clock, self._entropy),
            selector=selector,
            effect=Effect.REVOKE,
            reason="logged out everywhere" if command.everywhere else "logged out",
            actor=actor_name(bearer.subject, bearer.token_id),
        )
        committed = await self._sequencer.commit(
            LedgerCommand(idempotency, revocation, exact=False, awaited=command.awaited)
        )
        return StoredRevocation(committed.event(revocation), exact=False, fresh=committed.fresh)

    async def _find_end(self, token_id: str, bearer: Record) -> StoredRevocation | None:
        """Return the revocation that ended another session of the bearer's subject, or None.

        For an ended session nothing is committed: an event for each call would stay in the ledger
        for ever. Raises NotFoundError.
        """
        seen = await self._inspector.token(token_id)
        if (seen.token.grant.subject, seen.token.grant.kind) != (bearer.subject, Kind.SESSION):
            # The same answer as for an unknown id: the caller must not learn whose token it is.
            raise NotFoundError("session", token_id)
        ends = [event for event in seen.restrictions if _ends_tree(event)]
        if not ends and seen.token.ended is not None and seen.token.ended.revocation_id:
            stored = await self._inspector.revocation(seen.token.ended.revocation_id)
            ends = [stored.event]
        if ends:
            return StoredRevocation(ends[0], exact=False)
        if seen.state is State.EXPIRED:
            raise NotFoundError("session", token_id)
        return None


def _ends_tree(event: Event) -> bool:
    """Return True for a revoke that also hits the tokens delegated from its target."""
    return event.revocation.effect == Effect.REVOKE and not any(
        kind_of(handle) in {"token", "subject"} for handle in event.revocation.selector.handles
    )


def _require_owner(bearer: Record) -> None:
    """Raise NotASessionError unless the token is a session that was issued, not delegated.

    A session cannot delegate a session since `/` is reserved. A delegated session from before may
    have the name of another subject that was issued at that time.
    """
    _require_session(bearer)
    if bearer.lineage:
        raise NotASessionError("session that was delegated")


def _require_session(bearer: Record) -> None:
    if bearer.kind is not Kind.SESSION:
        raise NotASessionError(bearer.kind)
