"""What users write, as both type checkers must read it. It is never run: see test_public_api.py."""

from collections.abc import Mapping
from threading import Event
from typing import Any, Literal, assert_type

from rescind import (
    Allowed,
    Denied,
    DeniedError,
    Reason,
    Record,
    RescindError,
    ThreadHold,
    UnreachableError,
    Verdict,
    Verifier,
)
from rescind.client import Admin, AsyncAdmin, Bearer
from rescind.client.admin import (
    Command,
    ReceiptDocument,
    RestrictionDetails,
    RevocationDetails,
    RevocationPreview,
    Rotated,
    Secret,
    TokenEntry,
    TokenFilters,
    TokenProperties,
    TreeNode,
)


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


def work_in_a_thread_is_notified(verifier: Verifier, token: str) -> None:
    with verifier.hold(token) as held:
        assert_type(held, ThreadHold)
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


def a_new_token_is_typed(admin: Admin) -> None:
    issued = admin.issue(subject="agent:a", kind="agent", scopes=["read"], ttl=60)
    assert_type(issued.token, Secret | None)
    assert_type(issued.facts, TokenProperties)
    assert_type(issued.facts["expires_at"], str)
    rotated = admin.rotate(issued.token_id, overlap=30)
    assert_type(rotated, Rotated)
    assert_type(rotated.facts["seq"], int)


def a_token_is_typed_to_its_last_field(admin: Admin) -> None:
    found = admin.token("tok_1")
    assert_type(found["state"], Literal["active", "suspended", "revoked", "expired"])
    assert_type(found["tenant"], str | None)
    assert_type(found["labels"], dict[str, str])
    assert_type(found["holds"], list[RestrictionDetails])
    for each in admin.tokens(subject="agent:a", label=["a=b", "c=d"]):
        assert_type(each, TokenEntry)
    for child in admin.children("tok_1"):
        assert_type(child, TreeNode)
        assert_type(child["depth"], int)
    filters: TokenFilters = {"state": "active"}
    assert_type(admin.count_tokens(**filters)["count"], int)


def a_dry_run_is_a_preview_and_a_command_a_revocation(admin: Admin) -> None:
    assert_type(admin.revoke("tenant:t"), RevocationDetails)
    assert_type(admin.revoke("tenant:t", dry_run=True), RevocationPreview)
    assert_type(admin.kill("agent:a", dry_run=True)["tokens"], int)
    command = Command(exact=True, wait=True, timeout=5)
    done = admin.suspend("tenant:t", **command)
    assert_type(done["receipt"], ReceiptDocument | None)
    assert_type(done["hit"], int | None)
    outcome = admin.revoke_each([{"selector": ["token:tok_1"]}])["outcomes"][0]
    if outcome["problem"] is not None:
        assert_type(outcome["problem"]["detail"], str)


def the_system_is_typed(admin: Admin) -> None:
    assert_type(admin.fleet()["instances"][0]["lease_left_ms"], int)
    assert_type(admin.term()["settled"], bool)
    assert_type(admin.health()["status"], Literal["ready", "unavailable"])
    for event in admin.events(after=0):
        assert_type(event["selector"], list[str])


def a_holder_is_answered_in_types(bearer: Bearer) -> None:
    assert_type(bearer.sessions()["sessions"][0]["current"], bool)
    assert_type(bearer.log_out(everywhere=True)["seq"], int)


def an_answer_is_still_a_mapping(admin: Admin) -> None:
    def shown(document: Mapping[str, Any]) -> str:
        return str(document["instances"])

    assert_type(shown(admin.fleet()), str)


async def calls_in_a_loop_have_the_same_answers(admin: AsyncAdmin) -> None:
    assert_type(await admin.revoke("tenant:t"), RevocationDetails)
    assert_type(await admin.revoke("tenant:t", dry_run=True), RevocationPreview)
    async for each in admin.tokens(state="active"):
        assert_type(each["token_id"], str)
