"""Request bodies of `/v1/tokens`, and their conversion to commands."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from rescind.core.delegation import Right
from rescind.core.token_format import Kind
from rescind_authority.http import timestamps
from rescind_authority.ports.enrolments import Binding
from rescind_authority.usecases.leases.enrol import MAX_INSTANCES
from rescind_authority.usecases.tokens.issue import IssueCommand
from rescind_authority.usecases.validation import DEFAULT_TTL_S


class OnReuse(StrEnum):
    """The effect of the use of a rotated secret after its overlap."""

    REVOKE = "revoke"
    DENY = "deny"


class SidecarBindingRequest(BaseModel):
    """Limits on the sidecars that enrol with a credential."""

    model_config = ConfigDict(extra="forbid")

    posture: str = Field(
        default="strict",
        description="The most lenient posture that the sidecars may declare.",
        examples=["grace:session=60s,service=5m"],
    )
    instances: int | None = Field(
        default=None,
        description=f"The most sidecars at once. Left out: {MAX_INSTANCES}. Within an hour, "
        "ten times as many may have a lease.",
    )


class IssueRequest(BaseModel):
    """The grant of the new token."""

    model_config = ConfigDict(extra="forbid")

    subject: str = Field(
        description="The agent, user or service that the token identifies.",
        examples=["agent:billing-bot"],
    )
    kind: Kind = Field(description="The type of the token's bearer.")
    scopes: list[str] = Field(default=[], examples=[["tools:call"]])
    audience: list[str] = Field(
        default=[], description="The services that may accept it. Empty: every service."
    )
    ttl: float = Field(default=DEFAULT_TTL_S, description="Lifetime in seconds.")
    not_before: timestamps.Moment | None = Field(
        default=None,
        description="The time before which it is not valid: RFC 3339, or Unix seconds.",
    )
    labels: dict[str, str] = {}
    tenant: str | None = None
    client: str | None = None
    session: str | None = None
    may_speak_for: list[str] = Field(
        default=[],
        description="Patterns of the subjects that it may delegate to, besides `<subject>/<name>`.",
        examples=[["agent:team/*"]],
    )
    max_depth: int | None = Field(
        default=None,
        description="How many levels of descendants it may have. 0: none. Null: 16.",
    )
    addresses: list[str] = Field(
        default=[],
        description="The networks (CIDR) that callers may use it from. Empty: all networks.",
        examples=[["10.0.0.0/8"]],
    )
    verifier: dict[str, str] = Field(
        default={}, description="Labels that a verifier must have (RESCIND_LABELS) to accept it."
    )
    user_agent: str | None = Field(
        default=None,
        description="For a session: the browser or program of the log-in.",
        max_length=4096,
    )
    address: str | None = Field(
        default=None, description="For a session: the IP address of the log-in.", max_length=64
    )
    sidecars: SidecarBindingRequest | None = Field(
        default=None,
        description="For a credential (scope `rescind:verify`), which needs `rescind:enrol`.",
    )
    self_service: list[Right] | None = Field(
        default=None,
        description="What its holder may do at the authority with the token alone. Left out: "
        "everything, or nothing if it has an audience without `rescind`, or verifier labels.",
    )
    max_overlap: float | None = Field(
        default=None,
        description="The longest overlap, in seconds, that its holder may choose in a rotation. "
        "Left out: one hour.",
    )
    on_reuse: OnReuse = Field(
        default=OnReuse.REVOKE,
        description="The effect if the old secret is used after the overlap. With `revoke` the "
        "holder cannot choose `deny` in a rotation, because one of two parties is a thief.",
    )
    idle: float | None = Field(
        default=None,
        description="For a session: the seconds without use after which it ends, up to some "
        "minutes later. 0: never. Left out: RESCIND_SESSION_IDLE of the authority.",
    )


class LookRequest(BaseModel):
    """A token's secret."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    token: str


def to_command(body: IssueRequest) -> IssueCommand:
    """Convert a request to a command."""
    return IssueCommand(
        subject=body.subject,
        kind=body.kind,
        scopes=body.scopes,
        audience=body.audience,
        ttl_s=body.ttl,
        labels=body.labels,
        tenant=body.tenant,
        client=body.client,
        session=body.session,
        not_before_us=timestamps.maybe_to_us(body.not_before),
        may_speak_for=body.may_speak_for,
        max_depth=body.max_depth,
        addresses=body.addresses,
        verifier=body.verifier,
        user_agent=body.user_agent,
        address=body.address,
        sidecars=None
        if body.sidecars is None
        else Binding(body.sidecars.posture, body.sidecars.instances),
        self_service=body.self_service,
        max_overlap_s=body.max_overlap,
        reuse_denies=body.on_reuse is OnReuse.DENY,
        idle_s=body.idle,
    )
