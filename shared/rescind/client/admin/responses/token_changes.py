"""The outcomes of rotations and early ends of tokens."""

from typing import TypedDict

from rescind.client.admin.receipts import Timestamp
from rescind.client.admin.responses.problems import ProblemDocument
from rescind.client.admin.responses.progress import CommandProgress


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
