"""The authority's HTTP API as Python: `Admin` and `Bearer`, with `Async…` for event loops.

    with Admin.from_environment() as admin:
        issued = admin.issue(subject="agent:a", kind="agent", scopes=["read"], ttl=3600)
        admin.revoke(f"token:{issued.token_id}", reason="it went rogue")

    with Bearer.from_environment() as bearer:               # an agent, with its own token
        child = bearer.delegate(subject="agent:a/search-1", scopes=["read"])

`requests.py` has the types of the requests, `responses/` and `receipts.py` those of the answers.
`calls.py` builds each request and reads its answer, `adapter.py` adapts httpx2. The package
`async_client` has the clients; `sync_client` is generated from it. httpx2 comes with
`pip install 'rescind[admin]'`; without it this import raises MissingExtraError.
"""

from rescind.client.admin.calls import Document, Issued, Rotated
from rescind.client.admin.oauth_clients import (
    ClientDetails,
    ClientRegistration,
    NewClient,
    RemovedClient,
)
from rescind.client.admin.receipts import (
    GraceVerifier,
    LedgerEvent,
    PendingVerifier,
    ReceiptContent,
    ReceiptDocument,
    ReceiptSummary,
    ServiceOutcomes,
    VerifierOutcome,
    WaitProgress,
)
from rescind.client.admin.requests import (
    ChildGrant,
    Command,
    Grant,
    RequestOptions,
    RevocationFilters,
    RevocationItem,
    RotationOptions,
    SidecarBinding,
    TokenFilters,
    WaitOptions,
)
from rescind.client.admin.responses.operations import (
    AuthorityHealth,
    EvictedInstance,
    FleetDetails,
    FleetInstance,
    LeaseTerm,
)
from rescind.client.admin.responses.problems import ProblemDocument, ProblemField
from rescind.client.admin.responses.progress import CommandProgress
from rescind.client.admin.responses.revocations import (
    BatchOutcome,
    BatchResult,
    RevocationDetails,
    RevocationPreview,
    SweepProgress,
)
from rescind.client.admin.responses.sessions import LogOutResult, SessionDetails, SubjectSessions
from rescind.client.admin.responses.token_changes import ExpiryOutcome, ExpiryResult, TokenChange
from rescind.client.admin.responses.tokens import (
    RestrictionDetails,
    TokenDetails,
    TokenEntry,
    TokenProperties,
    TokenTotal,
    TokenTree,
    TreeNode,
)
from rescind.client.problems import (
    FieldProblem,
    MissingExtraError,
    OutcomeUnknownError,
    ProblemError,
)
from rescind.core.secret import Secret

try:
    from rescind.client.admin.async_client.clients import AsyncAdmin, AsyncBearer
    from rescind.client.admin.sync_client.clients import Admin, Bearer
except ModuleNotFoundError as missing:
    raise MissingExtraError("admin", "the client of the authority's HTTP API") from missing

__all__ = [
    "Admin",
    "AsyncAdmin",
    "AsyncBearer",
    "AuthorityHealth",
    "BatchOutcome",
    "BatchResult",
    "Bearer",
    "ChildGrant",
    "ClientDetails",
    "ClientRegistration",
    "Command",
    "CommandProgress",
    "Document",
    "EvictedInstance",
    "ExpiryOutcome",
    "ExpiryResult",
    "FieldProblem",
    "FleetDetails",
    "FleetInstance",
    "GraceVerifier",
    "Grant",
    "Issued",
    "LeaseTerm",
    "LedgerEvent",
    "LogOutResult",
    "MissingExtraError",
    "NewClient",
    "OutcomeUnknownError",
    "PendingVerifier",
    "ProblemDocument",
    "ProblemError",
    "ProblemField",
    "ReceiptContent",
    "ReceiptDocument",
    "ReceiptSummary",
    "RemovedClient",
    "RequestOptions",
    "RestrictionDetails",
    "RevocationDetails",
    "RevocationFilters",
    "RevocationItem",
    "RevocationPreview",
    "Rotated",
    "RotationOptions",
    "Secret",
    "ServiceOutcomes",
    "SessionDetails",
    "SidecarBinding",
    "SubjectSessions",
    "SweepProgress",
    "TokenChange",
    "TokenDetails",
    "TokenEntry",
    "TokenFilters",
    "TokenProperties",
    "TokenTotal",
    "TokenTree",
    "TreeNode",
    "VerifierOutcome",
    "WaitOptions",
    "WaitProgress",
]
