"""The types of the requests of administrators and holders, with the field names of the API.

A field that is left out has the default that is named here. Times are RFC 3339.
"""

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict


class SidecarBinding(TypedDict):
    """The limits for the sidecars of a credential."""

    posture: NotRequired[str]
    """The most lenient posture that they may declare; default: `strict`."""
    instances: NotRequired[int]
    """The largest number of instances at the same time."""


class Grant(TypedDict):
    """The grant of a new token."""

    subject: str
    """For whom the token speaks, such as `agent:billing-bot`."""
    kind: str
    """What holds the token: `agent`, `service`, `session`, `personal` or `admin`."""
    scopes: NotRequired[Sequence[str]]
    audience: NotRequired[Sequence[str]]
    """The services at which the token is valid; default: every service."""
    ttl: NotRequired[float]
    """Its lifetime in seconds; default: an hour."""
    not_before: NotRequired[str]
    """When the token begins to be valid; default: now."""
    labels: NotRequired[Mapping[str, str]]
    tenant: NotRequired[str]
    client: NotRequired[str]
    session: NotRequired[str]
    may_speak_for: NotRequired[Sequence[str]]
    """Patterns of subjects that its children may have besides `<own subject>/<name>`."""
    max_depth: NotRequired[int]
    """How many levels of descendants it may have; default: 16, 0 forbids it."""
    addresses: NotRequired[Sequence[str]]
    """Networks (CIDR) from which the token is valid; default: every address."""
    verifier: NotRequired[Mapping[str, str]]
    """Labels that a verifier must have; default: none."""
    user_agent: NotRequired[str]
    """Of a session: the user agent with which its owner logged in."""
    address: NotRequired[str]
    """Of a session: the IP address from which its owner logged in."""
    sidecars: NotRequired[SidecarBinding]
    """Of a credential of sidecars."""
    self_service: NotRequired[Sequence[str]]
    """The rights of the holder at the authority: `delegate`, `rotate`, `sessions`."""
    max_overlap: NotRequired[float]
    """The longest overlap of a rotation by its holder, in seconds; default: an hour."""
    on_reuse: NotRequired[str]
    """The effect of reuse of a rotated secret: `revoke` (the default) or `deny`."""
    idle: NotRequired[float]
    """Of a session: seconds without a use after which it ends; 0: never."""


class ChildGrant(TypedDict):
    """The grant of a child token: a part of its parent's grant."""

    subject: str
    """`<own subject>/<name>`, or a subject that the token's `may_speak_for` allows."""
    kind: NotRequired[str]
    """`agent` (the default), or the parent's kind."""
    scopes: NotRequired[Sequence[str]]
    audience: NotRequired[Sequence[str]]
    """Services among the parent's; default: the parent's."""
    ttl: NotRequired[float]
    """The child's lifetime in seconds; default: an hour, or the rest of the parent's."""
    labels: NotRequired[Mapping[str, str]]
    """Labels besides the parent's."""
    may_speak_for: NotRequired[Sequence[str]]
    max_depth: NotRequired[int]
    addresses: NotRequired[Sequence[str]]
    """Networks (CIDR) within the parent's; default: the parent's."""
    verifier: NotRequired[Mapping[str, str]]
    """Labels that a verifier must have besides the parent's."""
    self_service: NotRequired[Sequence[str]]


class WaitOptions(TypedDict):
    """Whether a command is answered only when it is enforced."""

    wait: NotRequired[bool]
    """True: when it is enforced, with the receipt. False (the default): once it is committed."""
    timeout: NotRequired[float]
    """With `wait`: answer after this many seconds in any case; default: the longest wait."""


class _Reason(TypedDict):
    reason: NotRequired[str]
    """The reason, for the ledger and the audit trail."""


class RequestOptions(WaitOptions, _Reason):
    """The reason of a command, and whether to wait until it is enforced."""


class _Effect(TypedDict):
    exact: NotRequired[bool]
    """True: spare the descendants of the selected tokens."""
    effect: NotRequired[str]
    """`revoke` (the default), `suspend`, `narrow` or `kill`."""
    scopes: NotRequired[Sequence[str]]
    """Scopes, or patterns of them, that a `narrow` removes."""
    issued_before: NotRequired[str]
    """Spare tokens that were issued at this time or later."""
    until: NotRequired[str]
    """When a suspend or a narrow is lifted without a command."""
    preview: NotRequired[str]
    """The `preview` of a dry run, which a command that hits many tokens needs."""


class Command(RequestOptions, _Effect):
    """The parameters of a revocation besides its selector."""


class RotationOptions(RequestOptions):
    """The parameters of a rotation."""

    overlap: NotRequired[float]
    """Seconds for which the old secret stays valid; default: 0."""
    on_reuse: NotRequired[str]
    """The effect of reuse: use of the old secret 30 seconds after its end, or later.

    `revoke` ends the token and its descendants, `deny` does not; default: as it was issued.
    """


class RevocationItem(_Effect, _Reason):
    """One command of a batch: the fields of `Command`, with a selector or a token's secret."""

    selector: NotRequired[Sequence[str]]
    token: NotRequired[str]


class TokenFilters(TypedDict, total=False):
    """The filters of a list or a count of tokens; a token must match all of them."""

    subject: str
    """Exactly this subject."""
    chain: str
    """This subject, or delegated from it."""
    tree: str
    """The token with this id, or delegated from it."""
    kind: str
    tenant: str
    client: str
    session: str
    created_by: str
    """Issued by the administrator of this subject, or delegated from such a token."""
    label: str | Sequence[str]
    """`key=value`; of several, all must match."""
    state: str
    """`active`, `suspended`, `revoked` or `expired`."""
    issued_after: str
    """Issued at this time or later."""
    issued_before: str
    """Issued before this time."""


class RevocationFilters(TypedDict, total=False):
    """The filters of a list of revocations."""

    standing: str
    """`"true"`: only suspends and narrows that are not lifted."""
    handle: str | Sequence[str]
    """With `standing`: only revocations that name one of these handles, or its tree or chain."""
