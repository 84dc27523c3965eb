"""`rescind receipt --verify FILE`: what is shown was signed; all else is refused, in a sentence."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.messages import TELLING_RECEIPT as RECEIPT
from tests.support.messages import UNKNOWN_GRACE_UNTIL_US

from rescind.errors import RescindError
from rescind.wire import documents, receipts
from rescind.wire.trust import Purpose
from rescind_cli import waiting
from rescind_cli.commands.receipt import _verified
from rescind_cli.failures import Exit
from rescind_runtime.signing import Keyring, Trust

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


def shown(text: bytes, trust: Path) -> dict[str, Any] | None:
    """Verify a file; None for one that was refused."""
    file = trust.with_name("receipt.json")
    file.write_bytes(text)
    try:
        return _verified(file, trust)
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
    whole = GOOD | documents.of_receipt(RECEIPT)
    assert shown(json.dumps(whole).encode(), trust) is not None
    for other in (None, 1, "lapsed", []):
        assert shown(json.dumps(whole | {field: other}).encode(), trust) is None


def test_that_a_verifier_may_be_unknown_is_shown_and_cannot_be_taken_out(trust: Path) -> None:
    receipt = replace(RECEIPT, unknown_grace_until_us=UNKNOWN_GRACE_UNTIL_US)
    signed = KEYRING.sign(Purpose.RECEIPTS, receipts.encode(receipt))
    file = documents.of_receipt(receipt) | {
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


@pytest.mark.parametrize(
    ("grace", "unknown", "expected"),
    [
        ([], {}, Exit.DONE),  # an older authority's
        ([], {"unknown_grace_until": None}, Exit.DONE),
        ([], {"unknown_grace_until": "2026-01-01T00:10:30Z"}, Exit.GRACE),
        ([{"service": "a"}], {"unknown_grace_until": None}, Exit.GRACE),
    ],
)
def test_a_verifier_that_may_be_in_grace_makes_the_exit_status_3(
    grace: list[object], unknown: dict[str, object], expected: Exit
) -> None:
    done = {"state": "enforced", "receipt": {"grace": grace} | unknown}
    assert waiting.exit_code(done) is expected


@quick
@given(changed=st.dictionaries(st.sampled_from(sorted(GOOD)), values, min_size=1, max_size=3))
def test_whatever_a_receipt_says_instead_it_is_the_signed_one_or_refused(
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
def test_a_file_that_is_no_document_is_refused(trust: Path, text: bytes) -> None:
    assert shown(text, trust) is None
