"""`rescind receipt --verify FILE`: what is shown was signed; all else is refused, in a sentence."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.messages import TELLING_RECEIPT as RECEIPT
from tests.support.messages import UNKNOWN_GRACE_UNTIL_US

from rescind.client.admin.receipts import ReceiptContent
from rescind.core.receipt import EnforcingVerifier, Outcome, Receipt, VerifierInGrace
from rescind.errors import RescindError
from rescind.wire import json_documents, receipt_details, receipts
from rescind.wire.trust_statement import Purpose
from rescind_cli.commands.revocations import receipt_file
from rescind_cli.output import receipt_progress
from rescind_cli.output.exit_codes import Exit
from rescind_runtime.clock import wall_us
from rescind_runtime.crypto.signing import Keyring
from rescind_runtime.crypto.trust import Trust

KEYRING = Keyring.create(root=bytes(range(32)), now_us=RECEIPT.committed_at_us)
TRUST = Trust(KEYRING.root, KEYRING.statement)
SIGNED = KEYRING.sign(Purpose.RECEIPTS, receipts.encode(RECEIPT))
GOOD: dict[str, Any] = {
    "revocation_id": RECEIPT.revocation_id,
    "seq": RECEIPT.seq,
    "content": base64.b64encode(SIGNED.content).decode(),
    "statement": base64.b64encode(KEYRING.statement).decode(),
    "key_id": SIGNED.key_id.hex(),
    "signature": SIGNED.signature.hex(),
}
quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=90),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    TRUST.write(tmp_path / "trust")
    return tmp_path / "trust"


def shown(text: bytes, trust: Path) -> ReceiptContent | None:
    """Verify a file; None for one that was refused."""
    file = trust.with_name("receipt.json")
    file.write_bytes(text)
    try:
        return receipt_file.verify(file, trust)
    except RescindError:
        return None


def test_a_genuine_receipt_is_shown_with_what_it_is_for(trust: Path) -> None:
    found = shown(json.dumps({"receipt": GOOD | {"enforced": "long ago"}}).encode(), trust)
    assert found is not None
    assert (found["revocation_id"], found["seq"]) == (RECEIPT.revocation_id, RECEIPT.seq)
    assert [each["selector"] for each in found["events"]] == [
        ["chain:agent:bot", "label:team=é"],
        ["*"],
    ]


@pytest.mark.parametrize("field", ["revocation_id", "seq", "events", "verifiers", "grace"])
def test_a_receipt_whose_readable_part_was_changed_is_refused(trust: Path, field: str) -> None:
    whole = GOOD | json_documents.of_receipt(RECEIPT)
    assert shown(json.dumps(whole).encode(), trust) is not None
    others: tuple[object, ...] = (None, 1, "lapsed", [])
    for other in others:
        assert shown(json.dumps(whole | {field: other}).encode(), trust) is None


def test_the_note_that_a_verifier_may_be_unknown_is_shown_and_cannot_be_removed(
    trust: Path,
) -> None:
    receipt = replace(RECEIPT, unknown_grace_until_us=UNKNOWN_GRACE_UNTIL_US)
    signed = KEYRING.sign(Purpose.RECEIPTS, receipts.encode(receipt))
    file = json_documents.of_receipt(receipt) | {
        "content": base64.b64encode(signed.content).decode(),
        "statement": base64.b64encode(KEYRING.statement).decode(),
        "key_id": signed.key_id.hex(),
        "signature": signed.signature.hex(),
    }
    found = shown(json.dumps(file).encode(), trust)
    assert found is not None
    assert found["unknown_grace_until"] == "2026-01-01T00:10:30Z"
    assert shown(json.dumps(file | {"unknown_grace_until": None}).encode(), trust) is None
    del file["unknown_grace_until"]  # what is left out is shown as it was signed
    assert shown(json.dumps(file).encode(), trust) == found


UNKNOWN = {"unknown_grace_until": "2026-01-01T00:10:30Z"}
ALL_KNOWN = {"unknown_grace_until": None}


@pytest.mark.parametrize(
    ("grace", "besides", "expected"),
    [
        ([], {}, Exit.DONE),  # an older authority's
        ([], ALL_KNOWN, Exit.DONE),
        ([], UNKNOWN, Exit.GRACE),
        ([{"service": "a"}], ALL_KNOWN, Exit.GRACE),
        ([], ALL_KNOWN | {"summary": {"grace": 0}}, Exit.DONE),
        ([], UNKNOWN | {"summary": {"grace": 0}}, Exit.GRACE),
        ([], ALL_KNOWN | {"summary": {"grace": 1}}, Exit.GRACE),  # a page that lists none of them
    ],
)
def test_a_verifier_that_may_be_in_grace_makes_the_exit_status_3(
    grace: list[object], besides: dict[str, object], expected: Exit
) -> None:
    done: Any = {"state": "enforced", "receipt": {"grace": grace} | besides}
    assert receipt_progress.exit_code(done) is expected


@quick
@given(changed=st.dictionaries(st.sampled_from(sorted(GOOD)), values, min_size=1, max_size=3))
def test_a_changed_receipt_is_shown_as_it_was_signed_or_refused(
    trust: Path, changed: dict[str, object]
) -> None:
    found = shown(json.dumps(GOOD | changed).encode(), trust)
    assert found is None or found["seq"] == RECEIPT.seq


@quick
@given(data=st.data(), field=st.sampled_from(["content", "statement", "key_id", "signature"]))
def test_a_receipt_with_a_changed_byte_is_refused(
    trust: Path, data: st.DataObject, field: str
) -> None:
    text = GOOD[field]
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("0123456789abcdefABCDEF+/=\n"))
    edited = text[:place] + other + text[place + 1 :]
    found = shown(json.dumps(GOOD | {field: edited}).encode(), trust)
    assert found is None or found["seq"] == RECEIPT.seq


@quick
@given(text=st.binary(max_size=200))
def test_any_bytes_are_refused(trust: Path, text: bytes) -> None:
    assert shown(text, trust) is None


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"receipt":' * 100_000, b"1" * 5_000, b"\xff"])
def test_a_file_that_is_not_a_json_document_is_refused(trust: Path, text: bytes) -> None:
    assert shown(text, trust) is None


def large(
    verifiers: int = 3_000, grace: int = 700, *, unknown_until_us: int | None = None
) -> tuple[dict[str, Any], Receipt]:
    """Return the file of a receipt that signs a summary, with all its details, and that receipt."""
    complete = replace(
        RECEIPT,
        verifiers=tuple(
            EnforcingVerifier(number.to_bytes(16), "search", Outcome.ACKNOWLEDGED, 1_234 + number)
            for number in range(verifiers)
        ),
        grace=tuple(
            VerifierInGrace(
                (number | 1 << 64).to_bytes(16), "edge", RECEIPT.enforced_at_us + number
            )
            for number in range(grace)
        ),
        unknown_grace_until_us=unknown_until_us,
    )
    stated, _ = receipt_details.divide(complete)
    signed = KEYRING.sign(Purpose.RECEIPTS, receipts.encode(stated))
    file = GOOD | {
        "content": base64.b64encode(signed.content).decode(),
        "signature": signed.signature.hex(),
        **json_documents.of_receipt(stated),
        "verifiers": json_documents.of_verifiers(complete.verifiers),
        "grace": json_documents.of_grace(complete.grace),
        "next": None,
    }
    return file, complete


def test_a_large_receipt_is_verified_with_all_its_details(trust: Path) -> None:
    file, complete = large()
    found = shown(json.dumps({"receipt": file}).encode(), trust)
    assert found is not None
    assert len(found["verifiers"]) == found["summary"]["verifiers"] == len(complete.verifiers)
    assert len(found["grace"]) == found["summary"]["grace"] == len(complete.grace)


@pytest.mark.parametrize(("verifiers", "grace"), [(1_200, 0), (1_200, 700), (0, 1_200)])
def test_the_note_of_a_summary_that_a_verifier_may_be_unknown_cannot_be_removed(
    trust: Path, capsys: pytest.CaptureFixture[str], verifiers: int, grace: int
) -> None:
    file, _ = large(verifiers, grace, unknown_until_us=UNKNOWN_GRACE_UNTIL_US)
    found = shown(json.dumps(file).encode(), trust)
    assert found is not None
    assert found["summary"]["grace"] == grace
    assert found["unknown_grace_until"] == "2026-01-01T00:10:30Z"
    done: Any = {"state": "enforced", "receipt": found}
    assert receipt_progress.exit_code(done) is Exit.GRACE
    receipt_progress.show(found)
    said = capsys.readouterr().out
    assert "does not list may be in grace until 2026-01-01T00:10:30Z" in said
    for changed in (None, "2026-01-01T00:10:31Z"):
        assert shown(json.dumps(file | {"unknown_grace_until": changed}).encode(), trust) is None
    del file["unknown_grace_until"]  # what is left out is shown as it was signed
    assert shown(json.dumps(file).encode(), trust) == found


@pytest.mark.parametrize("name", ["verifiers", "grace"])
@pytest.mark.parametrize(
    "change",
    [
        lambda each: each[1:],
        lambda each: [*each, each[0]],
        lambda each: [each[1], each[0], *each[2:]],
        lambda each: [each[0] | {"service": "other"}, *each[1:]],
        lambda each: [each[0] | {"service": "\ud800"}, *each[1:]],
        lambda each: [each[0] | {"instance": "ff" * 16}, *each[1:]],
        lambda each: [each[0] | {"latency_ms": 1e300, "until": "2026-01-01"}, *each[1:]],
        lambda each: [each[0] | {"instance": "no hex"}, *each[1:]],
        lambda each: [each[0] | {"latency_ms": 0, "until": "1970-01-01T00:00:00Z"}, *each[1:]],
        lambda each: [each[0] | {"latency_ms": "1", "until": 5}, *each[1:]],
        lambda each: [each[0] | {"latency_ms": float("nan"), "until": "never"}, *each[1:]],
        lambda each: [each[0] | {"latency_ms": 1e400, "until": None}, *each[1:]],
        lambda each: [each[0] | {"latency_ms": -1, "until": "0001-01-01T00:00:00Z"}, *each[1:]],
        lambda each: [each[0] | {"note": "added"}, *each[1:]],
        lambda _: [],
        lambda _: None,
        lambda _: "all",
    ],
)
def test_details_that_were_changed_after_they_were_signed_are_refused(
    trust: Path, name: str, change: Callable[[Any], object]
) -> None:
    file, _ = large(1_200, 3) if name == "verifiers" else large(3, 1_200)
    assert shown(json.dumps(file).encode(), trust) is not None
    assert shown(json.dumps(file | {name: change(file[name])}).encode(), trust) is None


def test_a_summary_that_differs_from_the_signed_one_is_refused(trust: Path) -> None:
    file, _ = large()
    for name in file["summary"]:
        other = file | {"summary": file["summary"] | {name: 7}}
        assert shown(json.dumps(other).encode(), trust) is None


def test_a_single_page_of_a_large_receipt_is_refused_with_advice_on_getting_all(
    trust: Path,
) -> None:
    file, complete = large()
    path = trust.with_name("receipt.json")
    page = file | {"verifiers": file["verifiers"][:1_000], "next": "1000"}
    path.write_text(json.dumps(page), encoding="utf-8")
    with pytest.raises(RescindError, match=r"1,000 of 3,000 .* `rescind receipt ID --json`"):
        receipt_file.verify(path, trust)
    assert len(complete.verifiers) == 3_000


@pytest.mark.parametrize(("verifiers", "grace"), [(3, 1), (800, 0), (100_000, 900)])
def test_a_receipt_is_shown_in_a_table_that_is_bounded(
    capsys: pytest.CaptureFixture[str], verifiers: int, grace: int
) -> None:
    file, _ = large(verifiers, grace)
    receipt_progress.show(cast("ReceiptContent", file))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 2 * receipt_progress.MAX_SHOWN + receipt_progress.MAX_SERVICES + 5
    shown = [line for line in lines if line.startswith("showing")]
    if verifiers > receipt_progress.MAX_SHOWN:
        assert f"50 of {verifiers:,}" in shown[0]
        assert any("edge" in line or "search" in line for line in lines[:3])
        slowest = max(each["latency_ms"] for each in file["verifiers"])
        assert any(f"{slowest:.1f} ms" in line for line in lines)
    else:
        assert not shown
    assert sum(line.startswith("grace") for line in lines) == min(grace, receipt_progress.MAX_SHOWN)
    assert any("900 in grace" in line for line in shown) == (grace == 900)


def test_a_receipt_of_an_older_authority_is_shown_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, _ = large(120, 0)
    del file["summary"]
    receipt_progress.show(cast("ReceiptContent", file))
    assert "50 of 120" in capsys.readouterr().out


ROOT, NEW_ROOT = bytes(range(32)), bytes(range(32, 64))


def receipt_of(keyring: Keyring) -> bytes:
    """Return a receipt's file as the authority of this keyring would have it."""
    signed = keyring.sign(Purpose.RECEIPTS, receipts.encode(RECEIPT))
    return json.dumps(
        {
            "content": base64.b64encode(signed.content).decode(),
            "statement": base64.b64encode(keyring.statement).decode(),
            "key_id": signed.key_id.hex(),
            "signature": signed.signature.hex(),
        }
    ).encode()


def trust_in(trust: Path, keyring: Keyring) -> Path:
    Trust(keyring.root, keyring.statement).write(trust)
    return trust


def refusal(text: bytes, trust: Path, *, ended_trust: bool = False) -> str:
    file = trust.with_name("receipt.json")
    file.write_bytes(text)
    with pytest.raises(RescindError) as refused:
        receipt_file.verify(file, trust, ended_trust=ended_trust)
    return str(refused.value)


def test_a_receipt_of_a_retired_key_is_refused_with_advice_on_getting_another(
    trust: Path,
) -> None:
    retired = KEYRING.retired(("receipts",), root=ROOT, now_us=RECEIPT.committed_at_us)
    assert "was retired" in refusal(receipt_of(KEYRING), trust_in(trust, retired))
    # The statement in a file may say so, and be newer than the trust file here.
    newer = json.loads(receipt_of(KEYRING)) | {
        "statement": base64.b64encode(retired.statement).decode()
    }
    assert "was retired" in refusal(json.dumps(newer).encode(), trust_in(trust, KEYRING))
    assert shown(receipt_of(retired), trust_in(trust, KEYRING)) is not None


def test_a_receipt_is_not_verified_by_an_ended_statement_unless_requested(
    trust: Path,
) -> None:
    day_us = 86_400 * 1_000_000
    ended = Keyring.create(root=ROOT, now_us=RECEIPT.committed_at_us, life_us=day_us)
    assert "--ended-trust" in refusal(receipt_of(ended), trust_in(trust, ended))
    file = trust.with_name("receipt.json")
    assert receipt_file.verify(file, trust, ended_trust=True)["seq"] == RECEIPT.seq
    # A newer trust file, or a receipt that was asked for again, brings a newer one.
    renewed = ended.restated(root=ROOT, now_us=wall_us())
    assert shown(receipt_of(ended), trust_in(trust, renewed)) is not None
    assert shown(receipt_of(renewed), trust_in(trust, ended)) is not None


def test_receipts_are_verified_across_a_new_root_key_in_both_directions(trust: Path) -> None:
    now_us = RECEIPT.committed_at_us
    rerooted = KEYRING.rerooted(root=ROOT, new_root=NEW_ROOT, now_us=now_us)
    assert shown(receipt_of(rerooted), trust_in(trust, KEYRING)) is not None
    assert shown(receipt_of(KEYRING), trust_in(trust, rerooted)) is not None
    unlinked = rerooted.unlinked(root=NEW_ROOT, now_us=now_us)
    assert shown(receipt_of(unlinked), trust_in(trust, KEYRING)) is not None  # its key is known
    fresh = unlinked.retired(("receipts",), root=NEW_ROOT, now_us=now_us)
    assert shown(receipt_of(fresh), trust_in(trust, KEYRING)) is None
