"""Problem documents, the errors of the API (RFC 9457)."""

from typing import NotRequired, TypedDict


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
