"""The errors of an administrator's calls, and problems as HTTP carries them (RFC 9457)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from rescind.errors import RescindError


class MissingExtraError(RescindError, ImportError):
    """Raised for a part of rescind that the bare SDK lacks; the text names the extra to install."""

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(f"{what} needs more than is installed: pip install 'rescind[{extra}]'")
        self.extra = extra


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """The problem of one field of a request."""

    field: str
    detail: str


class ProblemError(RescindError):
    """Raised for a refusal by the authority: `type` is for programs, `detail` for readers."""

    def __init__(
        self,
        *,
        type: str,  # noqa: A002 the name that RFC 9457 gives it
        title: str,
        status: int,
        detail: str = "",
        errors: tuple[FieldProblem, ...] = (),
    ) -> None:
        # The authority's own detail includes the problem of each field; another server's may not.
        fields = (
            f"{error.field}: {error.detail}" for error in errors if error.detail not in detail
        )
        super().__init__("\n  ".join([detail or title, *fields]))
        self.type = type
        self.title = title
        self.status = status
        self.detail = detail
        self.errors = errors


class OutcomeUnknownError(RescindError):
    """Raised when a command was sent, but no answer reports whether it was carried out.

    It is safe to send the command again under `idempotency_key`: it takes effect once.
    """

    def __init__(self, problem: str, *, idempotency_key: str) -> None:
        super().__init__(
            f"it is not known whether the command was carried out: {problem} "
            f"Retry with the same key, it will not happen twice: {idempotency_key}"
        )
        self.idempotency_key = idempotency_key


def read(document: object, *, status: int, reason: str) -> ProblemError:
    """Return the error of a refused call; without a problem document, made from its status."""
    if not isinstance(document, dict):
        return ProblemError(type="about:blank", title=reason or "refused", status=status)
    members = cast("dict[str, object]", document)
    return ProblemError(
        type=_read_text(members, "type", "about:blank"),
        title=_read_text(members, "title", reason or "refused"),
        status=status,
        detail=_read_text(members, "detail", ""),
        errors=tuple(_read_errors(members.get("errors"))),
    )


def _read_text(members: Mapping[str, object], name: str, otherwise: str) -> str:
    value = members.get(name)
    return value if isinstance(value, str) else otherwise


def _read_errors(errors: object) -> list[FieldProblem]:
    entries = cast("list[object]", errors) if isinstance(errors, list) else []
    mappings = [cast("Mapping[str, object]", each) for each in entries if isinstance(each, dict)]
    return [
        FieldProblem(_read_text(each, "field", ""), _read_text(each, "detail", ""))
        for each in mappings
    ]
