"""Admin tokens that no admin token authorises: the first, and another when the last is lost."""

from rescind.core.powers import AUDIENCE
from rescind.core.tokens import Kind
from rescind_authority.usecases.authorise import ALL_SCOPES
from rescind_authority.usecases.issue import Issuer, Wish
from rescind_authority.usecases.mint import Minted

ROOT = "admin:root"
_TTL_S = 365 * 24 * 3600.0


async def make_root(issuer: Issuer, *, actor: str) -> Minted:
    """Issue an admin token that may do everything, for a year."""
    wish = Wish(
        subject=ROOT,
        kind=Kind.ADMIN,
        scopes=ALL_SCOPES,
        audience=[AUDIENCE],
        ttl_s=_TTL_S,
        labels={},
    )
    return await issuer.make_admin(wish, actor=actor)
