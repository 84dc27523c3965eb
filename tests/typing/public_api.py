"""What users write, as both type checkers must read it. It is never run: see test_public_api.py."""

from threading import Event
from typing import Literal, assert_type

from rescind import (
    Allowed,
    Denied,
    DeniedError,
    Held,
    Reason,
    Record,
    RescindError,
    UnreachableError,
    Verdict,
    Verifier,
)
from rescind.client import Admin, AsyncAdmin


def a_check_is_allowed_or_denied(verifier: Verifier, token: str) -> None:
    verdict = verifier.check(token, require={"tools:call"}, audience="search")
    assert_type(verdict, Allowed | Denied)
    named: Verdict = verdict
    assert_type(named, Allowed | Denied)


async def an_awaited_check_is_the_same(verifier: Verifier, token: str) -> None:
    assert_type(await verifier.acheck(token), Allowed | Denied)


async def work_in_a_loop_is_held_with_the_record(verifier: Verifier, token: str) -> None:
    async with verifier.hold(token, require={"tools:call"}, audience="search") as record:
        assert_type(record, Record)


def work_in_a_thread_is_told(verifier: Verifier, token: str) -> None:
    with verifier.hold(token) as held:
        assert_type(held, Held)
        assert_type(held.record, Record)
        assert_type(held.revoked, Event)
        assert_type(held.reason, Reason | None)


def a_match_needs_no_default(verifier: Verifier, token: str) -> str:
    match verifier.check(token):
        case Allowed(record):
            assert_type(record, Record)
            return record.subject
        case Denied(reason):
            assert_type(reason, Reason)
            return reason.value


def a_verifier_attaches_without_arguments() -> None:
    assert_type(Verifier.attach(), Verifier)


def a_record_has_the_fields_of_the_contract(record: Record) -> None:
    assert_type(record.subject, str)
    assert_type(record.scopes, frozenset[str])
    assert_type(record.granted, frozenset[str])
    assert_type(record.removed, tuple[str, ...])
    assert_type(record.chain, tuple[str, ...])
    assert_type(record.token_id, str)
    assert_type(record.expires_at, float)
    assert_type(record.as_of, int)


def every_error_has_one_base(denied: DeniedError, unreachable: UnreachableError) -> None:
    errors: list[RescindError] = [denied, unreachable]
    assert_type(errors, list[RescindError])
    assert_type(denied.reason, str)


def a_receipt_is_typed_to_its_last_field(admin: Admin) -> None:
    done = admin.receipt("rev_1")
    assert_type(done["state"], Literal["committed", "enforced"])
    for page in admin.receipt_pages("rev_1"):
        assert_type(page["verifiers"][0]["latency_ms"], float)
        assert_type(page["grace"][0]["until"], str)
        if "summary" in page:
            assert_type(page["summary"]["services"][0]["lapsed"], int)


async def a_receipt_is_typed_in_a_loop_too(admin: AsyncAdmin) -> None:
    async for page in admin.receipt_pages("rev_1"):
        assert_type(page["content"], str)
