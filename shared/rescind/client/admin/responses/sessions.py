"""A subject's sessions."""

from typing import TypedDict

from rescind.client.admin.receipts import Timestamp
from rescind.client.admin.responses.progress import CommandProgress


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
