"""Responses of token introspection (RFC 7662), the same at the sidecar and at the authority."""

from rescind.core.record import Record
from rescind.core.times import US_PER_S

INACTIVE: dict[str, object] = {"active": False}
"""The response for a token that is not accepted. It has no reason (RFC 7662, section 2.2)."""


def describe(record: Record, *, as_of: int, with_exp: bool = False) -> dict[str, object]:
    """Return the response for an accepted token.

    Our own members begin with `rescind_`. `sub` is the token's subject. A delegated token has
    `act` (RFC 8693, section 4.1): the subject itself, then the subjects that delegated to it, the
    latest first.
    """
    members: dict[str, object] = {
        "active": True,
        "scope": " ".join(sorted(record.scopes)),
        "sub": record.subject,
        "token_type": "Bearer",
        "jti": record.token_id,
        "iat": record.issued_at_us // US_PER_S,
        "nbf": -(-record.not_before_us // US_PER_S),
        "rescind_kind": record.kind,
        "rescind_as_of": max(as_of, record.as_of),
    }
    if with_exp:
        members["exp"] = record.expires_at_us // US_PER_S
    if record.audience:
        members["aud"] = sorted(record.audience)
    if record.client is not None:
        members["client_id"] = record.client
    if record.tenant is not None:
        members["rescind_tenant"] = record.tenant
    if record.chain:
        members["rescind_chain"] = list(record.chain)
        members["act"] = _describe_actors(record)
    return members


def _describe_actors(record: Record) -> dict[str, object]:
    actors: dict[str, object] = {}
    for subject in (*record.chain, record.subject):
        actors = {"sub": subject, **({"act": actors} if actors else {})}
    return actors
