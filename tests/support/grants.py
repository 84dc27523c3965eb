"""Grants for tests: the facts of a token, with defaults for those that do not matter."""

from rescind.core import handles
from rescind.core.delegation import DelegationLimits
from rescind.core.handles import Handle
from rescind.core.token_format import Kind
from rescind_authority.ports.token_grant import TokenGrant


def grant(
    token_id: str,
    *,
    kind: Kind = Kind.AGENT,
    subject: str = "agent:a",
    scopes: tuple[str, ...] = (),
    audience: tuple[str, ...] = (),
    tenant: str | None = None,
    labels: tuple[tuple[str, str], ...] = (),
    names: tuple[Handle, ...] | None = None,
) -> TokenGrant:
    """Return the grant of a root. `names` are its handles, if they are not the usual ones."""
    if names is None:
        names = handles.of_token(
            token_id=token_id,
            kind=kind,
            subject=subject,
            tenant=tenant,
            client=None,
            session=None,
            labels=labels,
        )
    return TokenGrant(
        token_id=token_id,
        kind=kind,
        subject=subject,
        scopes=scopes,
        audience=audience,
        tenant=tenant,
        client=None,
        session=None,
        labels=labels,
        handles=names,
        lineage=(),
        chain=(),
        not_before_us=None,
        limits=DelegationLimits(),
        created_by="test",
    )
