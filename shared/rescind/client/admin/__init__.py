"""The authority's HTTP API as Python: `Admin` for threads, `AsyncAdmin` for event loops.

    with Admin.from_environment() as admin:
        issued = admin.issue(subject="agent:a", kind="agent", scopes=["read"], ttl=3600)
        admin.revoke(f"token:{issued.token_id}", reason="it went rogue")

Answers are the API's own JSON documents, as `/openapi.json` describes them. `calls.py` says what
is sent and how an answer is read, `link.py` what httpx2 needs to be told; the two clients only
send. httpx2 comes with `pip install 'rescind[admin]'`; without it this import says so.
"""

from rescind.client.admin.calls import Command, Document, Grant, Issued
from rescind.client.problems import (
    FieldProblem,
    MissingExtraError,
    OutcomeUnknownError,
    ProblemError,
)

try:
    from rescind.client.admin.aio import AsyncAdmin
    from rescind.client.admin.blocking import Admin
except ModuleNotFoundError as missing:
    raise MissingExtraError("admin", "the client of the authority's HTTP API") from missing

__all__ = [
    "Admin",
    "AsyncAdmin",
    "Command",
    "Document",
    "FieldProblem",
    "Grant",
    "Issued",
    "MissingExtraError",
    "OutcomeUnknownError",
    "ProblemError",
]
