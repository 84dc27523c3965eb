"""Enforce that no caller obtains a scope that it does not hold.

The rule applies to issuing and rotating. It concerns permissions over rescind itself: admin tokens,
scopes that meet `rescind:*`, the audience `rescind`, and the credentials of sidecars. A token that
is delegated or exchanged never has such permissions (`core.delegation`). Every actor that may issue
tokens may issue scopes of applications.
"""

from collections.abc import Collection
from dataclasses import dataclass

from rescind.core import well_known_scopes
from rescind.core.scopes import covers, prefix
from rescind.core.token_format import Kind
from rescind_authority.errors import ForbiddenError
from rescind_authority.usecases.access.authoriser import ALL_SCOPES, Actor, Scope


@dataclass(frozen=True, slots=True)
class GrantedPermissions:
    """The part of a token's grant that decides which actors may have its secret."""

    kind: Kind
    scopes: Collection[str]
    audience: Collection[str]


def require_held(actor: Actor, permissions: GrantedPermissions, action: str) -> None:
    """Raise ForbiddenError unless an actor may have the secret of such a token."""
    others = set(permissions.scopes)
    if well_known_scopes.is_credential(permissions.scopes):
        # Its holder reads the ledger and the edge keys, and influences receipts.
        actor.require(Scope.ENROL, f"{action} the credential of sidecars")
        others.discard(well_known_scopes.VERIFY)
    else:
        actor.require(Scope.ISSUE, action)
        if well_known_scopes.AUDIENCE in permissions.audience:
            actor.require(
                Scope.ADMIN, f"{action} a token for the audience {well_known_scopes.AUDIENCE}"
            )
    if permissions.kind is Kind.ADMIN:
        actor.require(Scope.ADMIN, f"{action} an admin token")
    for scope in sorted(others):
        if permissions.kind is Kind.ADMIN or well_known_scopes.own(scope):
            actor.require(Scope.ADMIN, f"{action} a token with {scope}")
            if permissions.kind is Kind.ADMIN or scope not in well_known_scopes.OF_SERVICES:
                _require_scope(actor, scope, permissions.kind)


def _require_scope(actor: Actor, scope: str, kind: Kind) -> None:
    """Raise ForbiddenError unless an actor holds a scope, or all scopes that a pattern covers.

    The scopes of an admin token count by name alone, so a pattern there must be held by name too.
    """
    if actor.holds(scope):
        return
    if kind is Kind.ADMIN or prefix(scope) is None:
        raise ForbiddenError(scope, "handing out this scope")
    for each in ALL_SCOPES:
        if covers((scope,), each):
            actor.require(each, f"handing out {scope}, which contains this scope,")
