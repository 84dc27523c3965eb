"""Lift a suspend or a narrow. Other revocations of the same tokens stay in force."""

from dataclasses import dataclass

from rescind.core import public_ids
from rescind.core.revocation import NOT_HOLDS, Effect, lift_of
from rescind.core.scopes import meets
from rescind_authority.errors import FinalError, NotFoundError
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.keys import Entropy
from rescind_authority.ports.ledger import IdempotencyClaim
from rescind_authority.ports.revocations import Revocations
from rescind_authority.ports.token_search import Tokens
from rescind_authority.usecases.access.authoriser import (
    ALL_SCOPES,
    Actor,
    Scope,
    require_right_to_hit,
)
from rescind_authority.usecases.ledger import new_ids
from rescind_authority.usecases.ledger.sequencer import RevocationCommand, Sequencer
from rescind_authority.usecases.revocations.revoke import CommittedRevocation
from rescind_authority.usecases.validation import FieldErrors

_FINAL = frozenset({Effect.REVOKE, *NOT_HOLDS})


@dataclass(frozen=True, slots=True)
class LiftCommand:
    """The revocation that a caller wants lifted, and the reason."""

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
        table: Tokens,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._sequencer = sequencer
        self._revocations = revocations
        self._table = table
        self._clock = clock
        self._entropy = entropy

    async def lift(
        self, release: LiftCommand, *, actor: Actor, claim: IdempotencyClaim
    ) -> CommittedRevocation:
        """Commit a lift as an event of its own, even if nothing is left to lift.

        Raises NotFoundError, FinalError, InvalidRequestError, ForbiddenError or the sequencer's
        errors.
        """
        findings = FieldErrors()
        reason = findings.reason(release.reason)
        findings.raise_if_any()
        actor.require(Scope.LIFT, "lifting")
        named = release.revocation_id
        stored = await self._revocations.get(named) if public_ids.is_id(named, "rev") else None
        if stored is None:
            raise NotFoundError("revocation", named)
        lifted = stored.event.revocation
        if lifted.effect in _FINAL:
            raise FinalError(named, lifted.effect)
        await require_right_to_hit(lifted.selector, actor, self._table)
        if lifted.effect == Effect.NARROW and lifted.selector.matches(actor.handles):
            # A token may not restore its own lost scopes; another administrator may.
            for scope in ALL_SCOPES:
                if meets(lifted.scopes, scope):
                    actor.require(scope, "lifting what narrows the token that asks")
        revocation_id = new_ids.name("rev", self._clock, self._entropy)
        revocation = lift_of(
            stored.event, revocation_id=revocation_id, reason=reason, actor=actor.name
        )
        committed = await self._sequencer.commit(
            RevocationCommand(claim, revocation, exact=stored.exact, awaited=release.awaited)
        )
        return CommittedRevocation(committed, revocation, stored.exact)
