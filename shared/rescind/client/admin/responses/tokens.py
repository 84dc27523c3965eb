"""Tokens: in lists, in detail and in delegation trees."""

from typing import Literal, TypedDict

from rescind.client.admin.receipts import Timestamp

TokenKind = Literal["agent", "service", "session", "personal", "admin"]


TokenState = Literal["active", "suspended", "revoked", "expired"]


HolderRight = Literal["delegate", "rotate", "sessions"]


ReuseEffect = Literal["revoke", "deny"]


DenialReason = Literal[
    "missing",
    "malformed",
    "unknown",
    "expired",
    "not_yet_valid",
    "revoked",
    "suspended",
    "wrong_audience",
    "wrong_verifier",
    "wrong_address",
    "insufficient_scope",
    "no_lease",
    "unavailable",
]
"""Why a token is denied: the values of `rescind.Reason`."""


class TokenProperties(TypedDict):
    """The properties with which a token was issued, without its secret."""

    token_id: str
    kind: TokenKind
    subject: str
    scopes: list[str]
    """The granted scopes."""
    audience: list[str]
    """The services at which the token is valid; empty: every service."""
    tenant: str | None
    client: str | None
    session: str | None
    labels: dict[str, str]
    lineage: list[str]
    """The token ids from the root of the delegation down to the parent."""
    chain: list[str]
    """The subjects of the lineage."""
    may_speak_for: list[str]
    """Patterns of subjects that its children may have besides `<own subject>/<name>`."""
    max_depth: int | None
    """How many levels of descendants the token may have; None: up to 16 in all."""
    addresses: list[str]
    """Networks (CIDR) from which the token is valid; empty: every address."""
    verifier: dict[str, str]
    """Labels that a verifier must have; empty: every verifier."""
    self_service: list[HolderRight] | None
    """The rights of its holder at the authority; None: the default rights."""
    max_overlap: float
    """The longest overlap of a rotation by its holder, in seconds."""
    on_reuse: ReuseEffect
    """The effect when a rotated secret is used after its overlap."""
    idle: float | None
    """Seconds without a use after which a session ends; None: never."""
    handles: list[str]
    """The handles by which a revocation can hit it."""
    issued_at: Timestamp
    issued_seq: int
    """The seq of the ledger at which it was issued."""
    not_before: Timestamp | None
    expires_at: Timestamp
    created_by: str
    """The subject of the administrator who issued it, or of its parent."""
    state: TokenState


class IssuedDocument(TokenProperties):
    """The body of the answer to an issue or a delegation: `Issued` holds it without `token`."""

    token: str | None
    """The secret; None in a repeat under one idempotency key."""


class RestrictionDetails(TypedDict):
    """A revocation that applies to a token."""

    id: str
    effect: str
    """`revoke`, `suspend` or `narrow`."""
    seq: int
    selector: list[str]
    """Handles, each of which the token has."""
    scopes: list[str]
    """Scope patterns that a `narrow` removes."""
    issued_before: Timestamp | None
    """The cutoff of the revocation."""
    until: Timestamp | None
    """When it is lifted without a command; None: not at all."""
    reason: str
    actor: str
    committed_at: Timestamp


class TokenEntry(TokenProperties):
    """A token in a list, with the revocations that apply to it."""

    last_used_at: Timestamp | None
    """The last use that was reported, up to five minutes late; None: no use yet."""
    user_agent: str | None
    address: str | None
    """The IP address from which a session was opened."""
    holds: list[RestrictionDetails]
    ended_seq: int | None
    """The seq of the event that ended it early; None: it was not ended early."""
    ended_by: str | None
    """The id of that event, if it is known."""


class TokenDetails(TokenEntry):
    """One token in one snapshot, and a verifier's decision on it."""

    denied: DenialReason | None
    """Why every verifier denies it; None: no verifier does, whatever the call needs."""
    scopes_left: list[str]
    """The granted scopes that no narrow touches."""
    scopes_removed: list[str]
    """The scope patterns that narrows remove."""
    rotated_at: Timestamp | None
    """When the secret that was presented was rotated; None: it is the present one."""
    as_of: int
    """The seq of the ledger in the snapshot."""
    at: Timestamp
    """The authority's time in the snapshot."""
    ended_reason: str | None
    """The reason of the event that ended it early, if it is known."""


class TreeNode(TokenEntry):
    """A token at its place in a delegation tree."""

    parent: str | None
    """The id of the token that it was delegated from; None at a root."""
    depth: int
    """The number of its ancestors."""
    next: str | None
    """The cursor of its children that are not shown; None: all of them are shown."""


class TokenTree(TypedDict):
    """A part of a delegation tree, at most 1,000 nodes; each parent comes before its children."""

    ancestors: list[TokenEntry]
    """From the root down to the parent."""
    nodes: list[TreeNode]
    """The token itself, and levels of its descendants."""
    size: int
    """How many tokens are below it in all."""
    exact: bool
    """False: `size` is a lower bound."""


class TokenTotal(TypedDict):
    """How many tokens match some filters."""

    count: int
    exact: bool
    """False: `count` is an estimate."""


class TokenPage(TypedDict):
    """A page of tokens; `next` is the cursor of the next page, None at the end."""

    tokens: list[TokenEntry]
    next: str | None


class NodePage(TypedDict):
    """A page of children; `next` is the cursor of the next page, None at the end."""

    nodes: list[TreeNode]
    next: str | None
