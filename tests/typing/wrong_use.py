"""What both type checkers must refuse. Each line's error is expected; one that is gone is a bug."""

from rescind import Allowed, Verifier


def a_match_that_forgets_the_denial(verifier: Verifier, token: str) -> str:
    match verifier.check(token):  # type: ignore[exhaustive-match]  # expected
        case Allowed(record):
            return record.subject
    return ""


def a_verdict_is_no_record(verifier: Verifier, token: str) -> str:
    return verifier.check(token).record.subject  # type: ignore[union-attr]  # expected


def an_entry_cannot_be_changed(allowed: Allowed) -> None:
    allowed.record.scopes = frozenset({"everything"})  # type: ignore[misc]  # expected
