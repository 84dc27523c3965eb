"""The answers of the authority as types, so that editors and type checkers show every field.

Each is the JSON object of the API itself, a `dict` whose keys are known: `answer["id"]`. A field is
always present unless it is `NotRequired`, and is None only if its type allows it. A test compares
every field with the authority's `/openapi.json`. Answers are not validated: a newer authority may
send more fields, an older one fewer.
"""

from typing import Literal, NotRequired, TypedDict

from rescind.client.admin.receipts import ReceiptDocument, Timestamp, WaitProgress

TokenKind = Literal["agent", "service", "session", "personal", "admin"]
TokenState = Literal["active", "suspended", "revoked", "expired"]
HolderRight = Literal["delegate", "rotate", "sessions"]
ReuseEffect = Literal["revoke", "deny"]
InstanceState = Literal["live", "silent", "released", "evicted"]
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
    """The services at which the token is good; empty: every service."""
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
    """Networks (CIDR) from which the token is good; empty: every address."""
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


class CommandProgress(TypedDict):
    """How far a command is: with `receipt` once it is enforced, with `progress` after a wait."""

    state: Literal["committed", "enforced"]
    receipt: ReceiptDocument | None
    progress: WaitProgress | None


class TokenChange(CommandProgress):
    """The early end or the rotation of a token, at its place in the ledger."""

    token_id: str
    id: str
    """The id of the event: `receipt` waits for it."""
    epoch: int
    seq: int
    committed_at: Timestamp


class RotationDocument(TokenChange):
    """The body of the answer to a rotation: `Rotated` holds it without `token`."""

    token: str | None
    """The new secret; None in a repeat under one idempotency key."""


class ProblemField(TypedDict):
    """The problem of one field of a request."""

    field: str
    detail: str


class ProblemDocument(TypedDict):
    """Why a command was refused (RFC 9457)."""

    type: str
    """A URN that is stable, such as `urn:rescind:problem:not-found`."""
    title: str
    status: int
    """The HTTP status that the command would have had alone."""
    detail: str
    errors: NotRequired[list[ProblemField]]
    idempotency_key: NotRequired[str | None]
    """The key to retry with, where the outcome is unknown."""


class ExpiryOutcome(TypedDict):
    """The outcome of `expire_each` for one token: `seq` of its end, or the `problem`."""

    token_id: str
    seq: int | None
    problem: ProblemDocument | None


class ExpiryResult(TypedDict):
    """The outcomes of `expire_each`, in the order of the token ids."""

    changed: int
    refused: int
    outcomes: list[ExpiryOutcome]


class SweepProgress(TypedDict):
    """How far the lists show a revoke; verifiers deny long before."""

    tokens: int
    """Tokens that it ended, and that nothing had ended before."""
    done: bool
    """True: these are all of them."""


class RevocationDetails(CommandProgress):
    """A revocation at its place in the ledger."""

    id: str
    epoch: int
    seq: int
    effect: str
    """`revoke`, `suspend`, `narrow`, `lift`, `changed`, or `kill` where it is named by its id."""
    selector: list[str]
    exact: bool
    """True: descendants are not hit."""
    scopes: list[str]
    """Scope patterns that a `narrow` removes."""
    issued_before: Timestamp | None
    """The cutoff: tokens that were issued later are spared."""
    until: Timestamp | None
    """When it is lifted without a command; None: not at all."""
    lifts: str | None
    """The id of the revocation that a lift ends."""
    lifted_at: Timestamp | None
    reason: str
    actor: str
    committed_at: Timestamp
    hit: int | None
    """How many live tokens matched; None in lists, and where the count took over two seconds."""
    hit_subjects: int | None
    """How many subjects these tokens speak for; a lower bound unless `hit_exact`."""
    hit_exact: bool | None
    """False: `hit` is an estimate, of more than 10,000."""
    swept: SweepProgress | None
    """Only in the answer to `revocation`, and only of a revoke."""


class RevocationPage(TypedDict):
    """A page of revocations; `next` is the cursor of the next page, None at the end."""

    revocations: list[RevocationDetails]
    next: str | None


class RevocationPreview(TypedDict):
    """The tokens that a command would hit now. Nothing was changed."""

    selector: list[str]
    """The selector as the ledger would hold it: with `tree:` and `chain:`."""
    tokens: int
    exact: bool
    """False: `tokens` is an estimate, and the other counts are lower bounds."""
    subjects: int
    delegated: int
    """How many of the tokens were delegated."""
    used: int
    """How many of the tokens were used in the last day."""
    spared_credentials: int
    """Credentials of sidecars that match and are not hit."""
    services: list[str]
    """The services at which the tokens were used."""
    preview: str
    """The name of this dry run: the command may have to carry it as `preview`."""
    preview_needed: bool
    """True: the command is refused without `preview`."""


class BatchOutcome(TypedDict):
    """The outcome of one command of a batch: its place in the ledger, or the `problem`."""

    id: str | None
    epoch: int | None
    seq: int | None
    committed_at: Timestamp | None
    problem: ProblemDocument | None


class BatchResult(CommandProgress):
    """The outcomes of a batch, in the order of its commands; `receipt` covers all of them."""

    committed: int
    refused: int
    outcomes: list[BatchOutcome]


class FleetInstance(TypedDict):
    """One sidecar process."""

    instance: str
    """Its id, in hex."""
    service: str
    host: str
    version: str
    posture: str
    """`strict`, or `grace:` with durations."""
    state: InstanceState
    """`silent`: no heartbeat for a whole lease term."""
    epoch: int | None
    applied_seq: int | None
    """The seq that it reported as applied."""
    acked_seq: int
    """The same, where its hash chain agrees with the ledger's."""
    lease_left_ms: int
    """The longest time for which its lease can still be good, in milliseconds."""
    overdue: bool
    """True: it is live, and was silent for more than half of the lease term."""
    lag: int
    """How many events it has not acknowledged."""
    first_seen: Timestamp
    last_seen: Timestamp
    released_at: Timestamp | None
    credential: str | None
    """The id of the token with which it enrolled."""
    evicted_at: Timestamp | None
    evicted_why: str | None
    trust_serial: int | None
    """The number of its trust statement; None: its version does not report it."""


class FleetDetails(TypedDict):
    """The end of the ledger, and the sidecars."""

    epoch: int
    seq: int
    head: str
    """The hash of the ledger up to `seq`, in hex."""
    grant_term_ms: int
    """For how long leases are granted now, in milliseconds."""
    ended: int
    """How many instances have ended and are not listed."""
    instances: list[FleetInstance]


class EvictedInstance(TypedDict):
    """A sidecar instance that gets no lease any more."""

    instance: str
    service: str
    evicted_at: Timestamp
    evicted_why: str
    lease_ends_at: Timestamp
    """The latest end of its last lease; a grace that it declared comes after that."""


class LeaseTerm(TypedDict):
    """The lease terms, in milliseconds."""

    grant_term_ms: int
    """For how long leases are granted now."""
    wait_term_ms: int
    """The term that a revocation assumes for leases: at least `grant_term_ms`."""
    target_term_ms: int
    """The term that was requested last."""
    settled: bool
    """True: all three are equal."""


class AuthorityHealth(TypedDict):
    """Whether the authority can do its work; each part is `ok`, or the fault."""

    status: Literal["ready", "unavailable"]
    postgres: str
    nats: str
    """Only speed depends on NATS."""
    trust: str
    """`ok`, or until when sidecars trust the keys of this authority."""
    version: str
    """The version of the authority."""


class SessionDetails(TypedDict):
    """One session, as its owner sees it."""

    token_id: str
    current: bool
    """True: it is the session that authorised the call."""
    user_agent: str | None
    address: str | None
    issued_at: Timestamp
    last_used_at: Timestamp | None
    expires_at: Timestamp


class SubjectSessions(TypedDict):
    """The live sessions of a subject, newest first, at most 200."""

    subject: str
    sessions: list[SessionDetails]


class LogOutResult(CommandProgress):
    """The end of one session, or of all sessions, at its place in the ledger."""

    id: str
    epoch: int
    seq: int
    selector: list[str]
    committed_at: Timestamp
