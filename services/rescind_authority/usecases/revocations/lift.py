"""Lift a suspension or a narrowing. Other revocations of the same tokens stay in force."""

from dataclasses import dataclass

from rescind.core import public_ids
from rescind.core.revocation import NOT_RESTRICTING, Effect, lift_of
from rescind.core.scopes import meets
from rescind_authority.errors import FinalError, NotFoundError
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.keys import Entropy
from rescind_authority.ports.ledger import IdempotentRequest
from rescind_authority.ports.revocations import Revocations, StoredRevocation
from rescind_authority.ports.token_search import Tokens
from rescind_authority.usecases.access.authoriser import (
    ALL_SCOPES,
    Actor,
    Scope,
    require_right_to_hit,
)
from rescind_authority.usecases.ledger import new_ids
from rescind_authority.usecases.ledger.sequencer import LedgerCommand, Sequencer
from rescind_authority.usecases.validation import FieldErrors

_FINAL = frozenset({Effect.REVOKE, *NOT_RESTRICTING})


@dataclass(frozen=True, slots=True)
class LiftCommand:
    """The revocation to lift, and the reason."""

    revocation_id: str
    reason: str
    awaited: bool = False


class Lifter:
    """Turn requests to lift into commands, and commit these."""

    def __init__(
        self,
        sequencer: Sequencer,
        *,
        revocations: Revocations,
        tokens: Tokens,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._sequencer = sequencer
        self._revocations = revocations
        self._tokens = tokens
        self._clock = clock
        self._entropy = entropy

    async def lift(
        self, command: LiftCommand, *, actor: Actor, idempotency: IdempotentRequest
    ) -> StoredRevocation:
        """Commit a lift as an event of its own, even if nothing is left to lift.

        Raises NotFoundError, FinalError, InvalidRequestError, ForbiddenError or the sequencer's
        errors.
        """
        field_errors = FieldErrors()
        reason = field_errors.reason(command.reason)
        field_errors.raise_if_any()
        actor.require(Scope.LIFT, "lifting")
        revocation_id = command.revocation_id
        known = public_ids.is_id(revocation_id, "rev")
        stored = await self._revocations.get(revocation_id) if known else None
        if stored is None:
            raise NotFoundError("revocation", revocation_id)
        lifted = stored.event.revocation
        if lifted.effect in _FINAL:
            raise FinalError(revocation_id, lifted.effect)
        await require_right_to_hit(lifted.selector, actor, self._tokens)
        if lifted.effect == Effect.NARROW and lifted.selector.matches(actor.handles):
            # A token may not restore its own lost scopes; another administrator may.
            for scope in ALL_SCOPES:
                if meets(lifted.scopes, scope):
                    actor.require(scope, "lifting a narrowing of the presented token")
        revocation = lift_of(
            stored.event,
            revocation_id=new_ids.generate("rev", self._clock, self._entropy),
            reason=reason,
            actor=actor.name,
        )
        committed = await self._sequencer.commit(
            LedgerCommand(idempotency, revocation, exact=stored.exact, awaited=command.awaited)
        )
        return StoredRevocation(committed.event(revocation), stored.exact, fresh=committed.fresh)
