"""Errors of the authority. The HTTP adapter maps each class to a problem."""

from dataclasses import dataclass

from rescind.core.revocation import Effect, Revocation
from rescind.errors import RescindError


@dataclass(frozen=True, slots=True)
class FieldError:
    """The error of one field of a request, with the value that is expected there."""

    field: str
    detail: str


class InvalidRequestError(RescindError):
    """Raised for a request with invalid fields; nothing was changed."""

    def __init__(self, *problems: FieldError) -> None:
        super().__init__("; ".join(f"{problem.field}: {problem.detail}" for problem in problems))
        self.problems = problems


class PreviewNeededError(RescindError):
    """Raised when a command would hit many tokens without a preview; nothing was changed."""

    def __init__(self, tokens: int, *, exact: bool, above: int) -> None:
        count = f"{tokens:,}" if exact else f"some {tokens:,}"
        super().__init__(
            f"this would hit {count} tokens of many holders, more than {above:,}. Nothing was "
            "changed. Look with `dry_run`, and send this again with the `preview` that it gives."
        )


class KeyReusedError(RescindError):
    """Raised when an idempotency key already belongs to another request of this actor."""

    def __init__(self) -> None:
        super().__init__(
            "this Idempotency-Key was used for a different request. "
            "Repeat that request unchanged, or send this one under a new key."
        )


class AlteredReceiptError(RescindError):
    """Raised when the details of a receipt in Postgres do not match the hashes that it signs."""

    def __init__(self, revocation_id: str, problem: str) -> None:
        super().__init__(
            f"the details of the receipt of {revocation_id} cannot be shown ({problem}): the "
            "table receipt_details was changed. What the receipt itself says is signed, and stands."
        )
        self.revocation_id = revocation_id
        self.problem = problem


class UnauthenticatedError(RescindError):
    """Raised when no holder is recognised. The text gives the reason and quotes no token.

    `sent` is True if a credential was sent. `actor` is the audit's name for the bearer of a known
    token that is not accepted.
    """

    def __init__(self, problem: str, *, sent: bool = True, actor: str | None = None) -> None:
        super().__init__(problem)
        self.sent = sent
        self.actor = actor


class BeyondParentError(RescindError):
    """Raised when a delegation asks for more than its parent has; nothing was changed."""

    def __init__(self, *problems: FieldError) -> None:
        super().__init__("; ".join(f"{problem.field}: {problem.detail}" for problem in problems))
        self.problems = problems


class StandingRevocationError(RescindError):
    """Raised when a standing revocation would deny the new token from the start."""

    def __init__(self, held_by: Revocation) -> None:
        advice = (
            "It is final: issue a new one." if held_by.effect == Effect.REVOKE else "Lift it first."
        )
        super().__init__(
            f"a {held_by.effect} of {held_by.selector} stands ({held_by.revocation_id}), so no "
            f"such token is issued. {advice}"
        )
        self.revocation_id = held_by.revocation_id


class FinalError(RescindError):
    """Raised when a lift cannot end a revocation; nothing was changed."""

    def __init__(self, revocation_id: str, effect: str) -> None:
        advice = (
            "Issue new tokens instead." if effect == "revoke" else "Lift what it speaks of instead."
        )
        super().__init__(f"{revocation_id} is a {effect}, which is final. {advice}")
        self.revocation_id = revocation_id


class LostError(RescindError):
    """Raised when a restore lost a revocation before it was enforced."""

    def __init__(self, revocation_id: str) -> None:
        super().__init__(
            f"{revocation_id} is not in the ledger any more: Postgres was restored from a backup "
            "that is older. Sidecars that heard of it bring it back under another id; to be sure, "
            "command it again under a new Idempotency-Key."
        )
        self.revocation_id = revocation_id


class TokenMovedError(RescindError):
    """Raised when a token ended, or was rotated by another call; nothing was changed."""

    def __init__(self) -> None:
        super().__init__(
            "the token has ended, or was rotated meanwhile. Nothing was changed. "
            "Look at it, and use the newest secret."
        )


class ForbiddenError(RescindError):
    """Raised when an administrator's token lacks a scope."""

    def __init__(self, scope: str, action: str) -> None:
        super().__init__(f"{action} needs the scope {scope}, which this admin token does not have.")
        self.scope = scope


class SelfServiceError(RescindError):
    """Raised for a call that a token's holder may not make; nothing was changed."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"{problem} An administrator can do it, or issue a token that allows it "
            "(self_service, max_overlap, on_reuse)."
        )


class TooManyChangesError(RescindError):
    """Raised beyond the budget of a token or its subject, with the time until a retry."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(
            "this token, or the tokens of its subject together, changed too much in a while. "
            f"Nothing was changed; it is possible in {retry_after_s} s."
        )
        self.retry_after_s = retry_after_s


class NotASessionError(RescindError):
    """Raised when a call needs a session, and the bearer's token is of another kind."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"this is a token of kind {kind}; sessions alone see and end each other.")


class ClientExistsError(RescindError):
    """Raised when an OAuth client of this id exists, or was changed by another call."""

    def __init__(self, client_id: str) -> None:
        super().__init__(
            f"a client {client_id!r} exists, or was changed meanwhile. Nothing was changed. Look "
            "at it; rotate it, remove it, or choose another id."
        )


class AlteredClientError(RescindError):
    """Raised for a change of an OAuth client whose row no authority wrote."""

    def __init__(self, client_id: str) -> None:
        super().__init__(
            f"the row of the client {client_id!r} is not as an authority wrote it, so it is not "
            "the base of a new credential. Nothing was changed. Remove the client, and add it "
            "again."
        )


class NotFoundError(RescindError):
    """Raised when no such token, revocation or instance is known."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"no {what} is called {name!r}. List them to see the names.")


class LookupUnavailableError(RescindError):
    """Raised when a look-up cannot be answered now.

    `answer` reports this under the MAC of the asking instance.
    """

    def __init__(self, answer: bytes) -> None:
        super().__init__("a look-up cannot be answered now")
        self.answer = answer


class NotEnrolledError(RescindError):
    """Raised for a message without the MAC of an instance enrolled in this epoch."""

    def __init__(self) -> None:
        super().__init__("the message's MAC is not right: the instance has to enrol (again)")


class OverloadedError(RescindError):
    """Raised when a queue is full; nothing was changed."""

    def __init__(self, what: str) -> None:
        super().__init__(f"too many {what} are waiting. Nothing was changed; try again shortly.")


class NoIssuerError(RescindError):
    """Raised when OAuth metadata is requested and no issuer is configured."""

    def __init__(self) -> None:
        super().__init__(
            "this authority has no OAuth issuer. Set RESCIND_ISSUER to the URL at which its "
            "clients reach it."
        )


class StoreUnavailableError(RescindError):
    """Raised when Postgres cannot be used now; nothing was changed."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"Postgres cannot be used: {problem}. Nothing was changed; try again.")


class OldPrimaryError(StoreUnavailableError):
    """Raised for a server that was replaced as the primary but still answers."""

    def __init__(self, timeline: int, newest: int) -> None:
        super().__init__(
            f"this server is an old primary: it is on timeline {timeline}, and timeline {newest} "
            "was seen. Stop it, and have RESCIND_POSTGRES_DSN lead to the new one. (If an older "
            "timeline was restored on purpose, restart this authority)"
        )
        self.timeline = timeline
        self.newest = newest


class StoreContendedError(StoreUnavailableError):
    """Raised when Postgres gave up on a deadlock or a lock; a retry is likely to pass."""


class NotMigratedError(StoreUnavailableError):
    """Raised when the schema is missing or older than this program."""

    def __init__(self) -> None:
        super().__init__("its tables are missing or too old, run `rescind migrate`")


class StoreForgedError(StoreUnavailableError):
    """Raised for a ledger in Postgres that is not the one that authorities wrote."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(
            f"{problem}. Nothing is leased or signed here until that is put right: "
            "deploy/runbooks/changed-postgres.md"
        )


class StoreRefusedError(RescindError):
    """Raised when Postgres refused a value that rescind's checks admitted: a defect of rescind."""


class CommitUnknownError(RescindError):
    """Raised for a commit that may be lost: it was cut off, or its wait for a standby cancelled."""

    def __init__(self) -> None:
        super().__init__(
            "the connection to Postgres was lost during the commit, or the commit's wait for a "
            "standby was cancelled, so it is not known whether it lasts. Retry with the same "
            "Idempotency-Key: it will not happen twice."
        )


class MigrationError(RescindError):
    """Raised when the schema cannot be brought up to date."""


class KeyFileError(RescindError):
    """Raised for a bad file of secrets. Never quotes the file."""
