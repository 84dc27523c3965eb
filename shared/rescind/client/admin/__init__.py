"""The authority's HTTP API as Python: `Admin` and `Bearer`, with `Async…` for event loops.

    with Admin.from_environment() as admin:
        issued = admin.issue(subject="agent:a", kind="agent", scopes=["read"], ttl=3600)
        admin.revoke(f"token:{issued.token_id}", reason="it went rogue")

    with Bearer.from_environment() as bearer:               # an agent, with its own token
        child = bearer.delegate(subject="agent:a/search-1", scopes=["read"])

Answers are the API's own JSON documents, as `/openapi.json` describes them. `calls.py` says what
is sent and how an answer is read, `link.py` what httpx2 needs to be told; the two clients only
send. httpx2 comes with `pip install 'rescind[admin]'`; without it this import says so.
"""

from rescind.client.admin.calls import (
    Command,
    Deed,
    Document,
    Grant,
    Issued,
    Manner,
    Portion,
    Renewal,
    SidecarBinding,
)
from rescind.client.problems import (
    FieldProblem,
    MissingExtraError,
    OutcomeUnknownError,
    ProblemError,
)

try:
    from rescind.client.admin.aio import AsyncAdmin, AsyncBearer
    from rescind.client.admin.blocking import Admin, Bearer
except ModuleNotFoundError as missing:
    raise MissingExtraError("admin", "the client of the authority's HTTP API") from missing

__all__ = [
    "Admin",
    "AsyncAdmin",
    "AsyncBearer",
    "Bearer",
    "Command",
    "Deed",
    "Document",
    "FieldProblem",
    "Grant",
    "Issued",
    "Manner",
    "MissingExtraError",
    "OutcomeUnknownError",
    "Portion",
    "ProblemError",
    "Renewal",
    "SidecarBinding",
]
