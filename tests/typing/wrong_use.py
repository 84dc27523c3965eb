# pyright: strict, reportUnnecessaryTypeIgnoreComment=error
"""What both type checkers must refuse. Each line's error is expected; one that is gone is a bug."""

from rescind import Allowed, Verifier
from rescind.client import Admin


def a_match_that_forgets_the_denial(verifier: Verifier, token: str) -> str:
    match verifier.check(token):  # type: ignore[exhaustive-match]  # expected
        case Allowed(record):
            return record.subject
    return ""


def a_verdict_is_not_a_record(verifier: Verifier, token: str) -> str:
    return verifier.check(token).record.subject  # type: ignore[union-attr]  # expected


def an_entry_cannot_be_changed(allowed: Allowed) -> None:
    allowed.record.scopes = frozenset({"everything"})  # type: ignore[misc]  # expected


def a_field_that_is_misspelt(admin: Admin) -> str:
    return admin.token("tok_1")["subjet"]  # type: ignore[typeddict-item, no-any-return]  # expected


def a_field_inside_a_list_that_is_misspelt(admin: Admin) -> object:
    return admin.fleet()["instances"][0]["lease_ms"]  # type: ignore[typeddict-item]  # expected


def a_field_that_may_be_none(admin: Admin) -> str:
    return admin.revoke("tenant:t")["receipt"]["content"]  # type: ignore[index]  # expected


def a_filter_that_is_misspelt(admin: Admin) -> None:
    list(admin.tokens(subjekt="agent:a"))  # type: ignore[call-arg]  # expected


def a_field_of_a_grant_that_is_misspelt(admin: Admin) -> None:
    admin.issue(subject="agent:a", kind="agent", scope=["a"])  # type: ignore[call-arg]  # expected


def a_revocation_is_not_a_preview(admin: Admin) -> object:
    return admin.revoke("tenant:t")["preview"]  # type: ignore[typeddict-item]  # expected
