"""What can go wrong in the authority. The HTTP adapter maps each class to a problem."""

from dataclasses import dataclass

from rescind.core.revocation import Effect, Revocation
from rescind.errors import RescindError


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """Say what is wrong with one field of a request, and what is expected there."""

    field: str
    detail: str


class InvalidRequestError(RescindError):
    """Say which fields of a request are wrong; nothing was changed."""

    def __init__(self, *problems: FieldProblem) -> None:
        super().__init__("; ".join(f"{problem.field}: {problem.detail}" for problem in problems))
        self.problems = problems


class PreviewNeededError(RescindError):
    """Say that a command would hit many tokens, and nobody looked first; nothing was changed."""

    def __init__(self, tokens: int, *, exact: bool, above: int) -> None:
        count = f"{tokens:,}" if exact else f"some {tokens:,}"
        super().__init__(
            f"this would hit {count} tokens of many holders, more than {above:,}. Nothing was "
            "changed. Look with `dry_run`, and send this again with the `preview` that it gives."
        )


class KeyReusedError(RescindError):
    """Say that an idempotency key already stands for another request of this actor."""

    def __init__(self) -> None:
        super().__init__(
            "this Idempotency-Key was used for a different request. "
            "Repeat that request unchanged, or send this one under a new key."
        )


class AlteredReceiptError(RescindError):
    """The details of a receipt in Postgres are not those whose hashes it signs."""

    def __init__(self, revocation_id: str, problem: str) -> None:
        super().__init__(
            f"the details of the receipt of {revocation_id} cannot be shown ({problem}): the "
            "table receipt_details was changed. What the receipt itself says is signed, and stands."
        )
        self.revocation_id = revocation_id
        self.problem = problem


class UnauthenticatedError(RescindError):
    """Say why no holder could be recognised, never quoting; `sent`: whether a credential came."""

    def __init__(self, problem: str, *, sent: bool = True) -> None:
        super().__init__(problem)
        self.sent = sent


class BeyondParentError(RescindError):
    """Say what a delegation asked for that the parent cannot give; nothing was changed."""

    def __init__(self, *problems: FieldProblem) -> None:
        super().__init__("; ".join(f"{problem.field}: {problem.detail}" for problem in problems))
        self.problems = problems


class HeldError(RescindError):
    """Say which standing revocation would hold the new token from its first moment."""

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
    """Say that there is nothing in a revocation that a lift could end; nothing was changed."""

    def __init__(self, revocation_id: str, effect: str) -> None:
        advice = (
            "Issue new tokens instead." if effect == "revoke" else "Lift what it speaks of instead."
        )
        super().__init__(f"{revocation_id} is a {effect}, which is final. {advice}")
        self.revocation_id = revocation_id


class LostError(RescindError):
    """Say that a revocation was lost, in a restore, before it was enforced."""

    def __init__(self, revocation_id: str) -> None:
        super().__init__(
            f"{revocation_id} is not in the ledger any more: Postgres was restored from a backup "
            "that is older. Sidecars that heard of it bring it back under another id; to be sure, "
            "command it again under a new Idempotency-Key."
        )
        self.revocation_id = revocation_id


class TokenMovedError(RescindError):
    """Say that a token ended, or was rotated by somebody else; nothing was changed."""

    def __init__(self) -> None:
        super().__init__(
            "the token has ended, or was rotated meanwhile. Nothing was changed. "
            "Look at it, and use the newest secret."
        )


class ForbiddenError(RescindError):
    """Say which scope the admin's token lacks."""

    def __init__(self, scope: str, action: str) -> None:
        super().__init__(f"{action} needs the scope {scope}, which this admin token does not have.")
        self.scope = scope


class NotASessionError(RescindError):
    """Say that a call is for sessions, and the bearer's token is something else."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"this is a token of kind {kind}; sessions alone see and end each other.")


class NotFoundError(RescindError):
    """Say that no such thing is known."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"no {what} is called {name!r}. List them to see the names.")


class NotEnrolledError(RescindError):
    """Say that a message carries no MAC of an instance that is enrolled in this epoch."""

    def __init__(self) -> None:
        super().__init__("the message's MAC is not right: the instance has to enrol (again)")


class OverloadedError(RescindError):
    """Say that a queue is full; nothing was changed."""

    def __init__(self, what: str) -> None:
        super().__init__(f"too many {what} are waiting. Nothing was changed; try again shortly.")


class StoreUnavailableError(RescindError):
    """Say that Postgres cannot be used now; nothing was changed."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"Postgres cannot be used: {problem}. Nothing was changed; try again.")


class OldPrimaryError(StoreUnavailableError):
    """Report a server that was replaced as the primary, and answers all the same."""

    def __init__(self, timeline: int, newest: int) -> None:
        super().__init__(
            f"this server is an old primary: it is on timeline {timeline}, and timeline {newest} "
            "was seen. Stop it, and have RESCIND_POSTGRES_DSN lead to the new one. (If an older "
            "timeline was restored on purpose, restart this authority)"
        )
        self.timeline = timeline
        self.newest = newest


class StoreContendedError(StoreUnavailableError):
    """Say that Postgres gave up on a deadlock or a lock; a retry is likely to pass."""


class NotMigratedError(StoreUnavailableError):
    """Say that the schema is missing or older than this program."""

    def __init__(self) -> None:
        super().__init__("its tables are missing or too old, run `rescind migrate`")


class StoreRefusedError(RescindError):
    """Say that Postgres refused a value that our own checks let through: a defect of ours."""


class OutcomeUnknownError(RescindError):
    """Report a commit that may be lost: it was cut off, or its wait for a standby cancelled."""

    def __init__(self) -> None:
        super().__init__(
            "the connection to Postgres was lost during the commit, or the commit's wait for a "
            "standby was cancelled, so it is not known whether it lasts. Retry with the same "
            "Idempotency-Key: it will not happen twice."
        )


class MigrationError(RescindError):
    """Say why the schema cannot be brought up to date."""


class KeyFileError(RescindError):
    """Say what is wrong with a file that holds a secret. Never quotes the file."""
