"""The page on the protocol says what the code does."""

import json
import re
from importlib import import_module
from typing import Any, get_args
from unittest.mock import MagicMock

import msgpack
import pytest
from starlette.routing import Route
from tests.support import documents
from tests.support.documents import DOCS
from tests.support.messages import SAMPLES, Sample

from rescind.core import generation_table, token_format
from rescind.core.revocation import ENDED, Effect
from rescind.core.token_format import Kind
from rescind.core.verdict import Reason
from rescind.wire import bearer, nats_subjects, signed_envelope, socket_protocol
from rescind_authority.http.sidecar_routes import SidecarRoutes

PAGE = DOCS / "protocol.md"

_IN_AN_ENVELOPE = {"events.Batch", "record.Record"}
_INSIDE_OTHERS = {
    "revocation.Restriction",
    "trust_statement.VerifyingKey",
    "trust_statement.RetiredKey",
    "receipt.EnforcingVerifier",
    "receipt.VerifierInGrace",
    "receipt.ServiceTotals",
}
_SHOWN = {
    "messages.ShownCredential": "enrolment.Credential",
    "builtins.tuple": "signed_envelope.SignedEnvelope",  # with the links after it
}


def plain(cell: str) -> str:
    return cell.strip("`")


def layouts() -> dict[tuple[str, int], tuple[int, int]]:
    """Return how many fields each message has, by its class and its tag: at least and at most."""
    found: dict[tuple[str, int], tuple[int, int]] = {}
    for *_, layout, code in documents.tables(PAGE, headed="message"):
        fields = plain(layout).strip("[]").split(", ")
        # The envelope's own tag is the number 1, as every tag is.
        required = sum(not field.endswith("?") for field in fields)
        found[plain(code), int(fields[0])] = (required, len(fields))
    return found


def class_of(sample: Sample) -> str:
    kind = type(sample.message)
    called = f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"
    return _SHOWN.get(called, called)


def fields_of(sample: Sample) -> list[Any]:
    payload = sample.encode(sample.message)
    if class_of(sample) in _IN_AN_ENVELOPE:
        payload = signed_envelope.decode(payload).content
    found: list[Any] = msgpack.unpackb(payload)
    return found


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_message_has_the_tag_and_the_fields_of_the_page(sample: Sample) -> None:
    fields = fields_of(sample)
    at_least, at_most = layouts()[class_of(sample), fields[0]]
    assert at_least <= len(fields) <= at_most


def test_the_page_has_no_message_that_is_not_in_the_code() -> None:
    known = {(class_of(sample), fields_of(sample)[0]) for sample in SAMPLES}
    assert {each for each in layouts() if each[0] not in _INSIDE_OTHERS} == known
    requests = (*get_args(socket_protocol.Request), *get_args(socket_protocol.Response))
    frames = {f"socket_protocol.{each.__name__}" for each in requests}
    assert frames <= {each for each, _ in layouts()}


def test_some_sample_has_every_field_that_the_page_has() -> None:
    longest: dict[tuple[str, int], int] = {}
    for sample in SAMPLES:
        fields = fields_of(sample)
        key = class_of(sample), fields[0]
        longest[key] = max(longest.get(key, 0), len(fields))
    assert {key: most for key, (_, most) in layouts().items() if key in longest} == longest


def test_the_reasons_and_their_statuses_are_those_of_the_code() -> None:
    rows = {plain(row[0]): row for row in documents.table(PAGE, headed="reason")}
    assert set(rows) == set(Reason)
    for reason in Reason:
        refusal = bearer.refuse(reason, require={"a:b"})
        challenge = dict(refusal.headers).get("www-authenticate", "")
        error = re.search(r'error="(\w+)"', challenge)
        _, status, told, meaning = rows[reason]
        assert int(status) == refusal.status, reason
        assert plain(told) == (error[1] if error else "none"), reason
        assert meaning


def test_the_headers_and_the_body_of_a_refusal_are_those_of_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = documents.table(PAGE, headed="header")
    named = {plain(name).lower() for name, _ in rows}
    values = " ".join(value for _, value in rows)
    for reason in Reason:
        headers = dict(bearer.refuse(reason, require={"c:d", "a:b"}).headers)
        assert headers.keys() <= named | {"content-length"}, reason
        for name in headers.keys() - {"x-rescind-reason", "content-length"}:
            assert f"`{headers[name]}`" in values, reason
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert json.loads(example) == json.loads(bearer.refuse(Reason.REVOKED).body)


def test_the_effects_are_those_of_the_code() -> None:
    rows = {plain(row[0]) for row in documents.table(PAGE, headed="effect")}
    assert rows == {*Effect, ENDED}


def test_the_kinds_of_tokens_are_those_of_the_code() -> None:
    rows = {plain(kind): plain(code) for kind, code in documents.table(PAGE, headed="kind")}
    assert rows == {str(kind): token_format.CODES[kind] for kind in Kind}


def test_the_subjects_are_those_of_the_code() -> None:
    rows = {plain(row[0]): plain(row[2]) for row in documents.table(PAGE, headed="subject")}
    constants = {each for each in vars(nats_subjects).values() if isinstance(each, str)}
    assert set(rows) == {each for each in constants if re.fullmatch(r"rescind\.v1\.\w+", each)}
    assert set(rows.values()) == {"none", nats_subjects.AUTHORITY_QUEUE}
    assert nats_subjects.STREAM in documents.prose(PAGE)


def test_the_paths_of_the_http_link_are_those_of_the_code() -> None:
    rows = {plain(row[0]) for row in documents.table(PAGE, headed="path")}
    routes = SidecarRoutes(MagicMock(), MagicMock()).routes()
    assert rows == {route.path for route in routes if isinstance(route, Route)}


def test_the_words_of_the_table_are_those_of_the_code() -> None:
    rows = dict(documents.table(PAGE, headed="word"))
    for kind, word in generation_table.DEADLINE.items():
        assert f"`{kind}`" in rows[str(word)]
    assert rows[str(generation_table.GENERATION)].startswith("generation")
    numbers = memoryview(bytearray(8 * generation_table.HEADER_WORDS)).cast("Q")
    numbers[:] = memoryview(bytearray().join(n.to_bytes(8, "little") for n in range(512))).cast("Q")
    assert rows[str(generation_table.applied(numbers))].startswith("applied")
    assert f"{generation_table.HEADER_WORDS} and up" in rows
    assert rows["1"] == f"layout version: {generation_table.LAYOUT}"
    assert generation_table.MAGIC.to_bytes(8).decode() in rows["0"]


def test_the_bounds_are_those_of_the_code() -> None:
    for constant, value, meaning in documents.table(PAGE, headed="constant"):
        module, _, attribute = plain(constant).rpartition(".")
        assert getattr(import_module(module), attribute) == int(value.replace(",", "")), constant
        assert meaning
