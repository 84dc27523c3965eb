"""The grant of a token, as its issuer chose it."""

from dataclasses import dataclass

from rescind.core.conditions import UNCONDITIONAL, Conditions
from rescind.core.delegation import DelegationLimits
from rescind.core.handles import Handle
from rescind.core.token_format import Kind


@dataclass(frozen=True, slots=True)
class Device:
    """The device of a session, as its issuer reported it: shown to its owner, in no record."""

    user_agent: str | None = None
    address: str | None = None


_NO_DEVICE = Device()


@dataclass(frozen=True, slots=True)
class TokenGrant:
    """The facts of a token that never change after it was issued.

    `lineage` and `chain` are the token ids and subjects from the root down to the parent.
    `created_by` is the subject that issued the token. The token ends after `idle_us` without a use;
    None: it does not. `not_before_us` is Unix microseconds of Postgres's clock.
    """

    token_id: str
    kind: Kind
    subject: str
    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    tenant: str | None
    client: str | None
    session: str | None
    labels: tuple[tuple[str, str], ...]
    handles: tuple[Handle, ...]
    lineage: tuple[str, ...]
    chain: tuple[str, ...]
    not_before_us: int | None
    limits: DelegationLimits
    created_by: str
    device: Device = _NO_DEVICE
    conditions: Conditions = UNCONDITIONAL
    idle_us: int | None = None
