"""The rule of issuing and rotating: no caller obtains a scope that it does not hold.

It concerns power over rescind itself: admin tokens, scopes that meet `rescind:*`, the audience
`rescind`, and the credentials of sidecars. Scopes of applications are issued by whoever may issue.
What is delegated or exchanged never has such power (`core.delegation`).
"""

from collections.abc import Collection
from dataclasses import dataclass

from rescind.core import powers
from rescind.core.scopes import covers, prefix
from rescind.core.tokens import Kind
from rescind_authority.errors import ForbiddenError
from rescind_authority.usecases.authorise import ALL_SCOPES, Actor, Scope


@dataclass(frozen=True, slots=True)
class Power:
    """What a token may do, as far as it decides who may have its secret."""

    kind: Kind
    scopes: Collection[str]
    audience: Collection[str]


def require_held(actor: Actor, power: Power, action: str) -> None:
    """Raise ForbiddenError unless an actor may have the secret of a token with this power."""
    others = set(power.scopes)
    if powers.is_credential(power.scopes):
        # Its holder reads the ledger and the edge keys, and has a say in receipts.
        actor.require(Scope.ENROL, f"{action} the credential of sidecars")
        others.discard(powers.VERIFY)
    else:
        actor.require(Scope.ISSUE, action)
        if powers.AUDIENCE in power.audience:
            actor.require(Scope.ADMIN, f"{action} a token for the audience {powers.AUDIENCE}")
    if power.kind is Kind.ADMIN:
        actor.require(Scope.ADMIN, f"{action} an admin token")
    for scope in sorted(others):
        if power.kind is Kind.ADMIN or powers.own(scope):
            actor.require(Scope.ADMIN, f"{action} a token with {scope}")
            _require(actor, scope, power.kind)


def _require(actor: Actor, scope: str, kind: Kind) -> None:
    """Raise ForbiddenError unless an actor holds a scope, or all that a pattern stands for.

    An admin token's scopes count by name alone, so a pattern there has to be held by name too.
    """
    if actor.holds(scope):
        return
    if kind is Kind.ADMIN or prefix(scope) is None:
        raise ForbiddenError(scope, "handing out this scope")
    for each in ALL_SCOPES:
        if covers((scope,), each):
            actor.require(each, f"handing out {scope}, which contains this scope,")
