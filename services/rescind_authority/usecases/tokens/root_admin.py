"""Issue an admin token that no token authorises: the first, or another if all others are lost."""

from rescind.core.token_format import Kind
from rescind.core.well_known_scopes import AUDIENCE
from rescind_authority.usecases.access.authoriser import ALL_SCOPES
from rescind_authority.usecases.tokens.issue import IssueCommand, Issuer
from rescind_authority.usecases.tokens.new_token import Minted

ROOT = "admin:root"
_TTL_S = 365 * 24 * 3600.0


async def make_root(issuer: Issuer, *, actor: str) -> Minted:
    """Issue an admin token with all scopes, for a year."""
    command = IssueCommand(
        subject=ROOT,
        kind=Kind.ADMIN,
        scopes=ALL_SCOPES,
        audience=[AUDIENCE],
        ttl_s=_TTL_S,
        labels={},
    )
    return await issuer.make_admin(command, actor=actor)
