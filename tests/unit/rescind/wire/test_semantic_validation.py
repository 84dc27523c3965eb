"""What a decoder refuses although its types are right: a missing fact is never "not revoked"."""

from dataclasses import replace

import msgpack
import pytest
from tests.support import messages

from rescind.core.handles import Handle, Selector
from rescind.core.lease import MAX_TERM_MS
from rescind.core.ledger import Position
from rescind.core.record import Record
from rescind.core.verdict import Reason
from rescind.errors import MalformedMessageError
from rescind.wire import events, heartbeat, lookups, records, signed_envelope, socket_protocol
from rescind.wire.codec import pack


def test_an_event_without_a_handle_is_malformed() -> None:
    aimless = replace(messages.EVENT.revocation, selector=Selector(()))
    with pytest.raises(MalformedMessageError, match="without a handle"):
        events.decode(events.encode(replace(messages.EVENT, revocation=aimless)))


def test_an_event_with_an_unknown_effect_and_an_unknown_handle_is_read() -> None:
    selector = Selector((Handle("planet:mars"),))
    future = replace(messages.EVENT.revocation, effect="banish", selector=selector)
    decoded = events.decode(events.encode(replace(messages.EVENT, revocation=future)))
    assert decoded.revocation == future
    assert decoded.revocation.selector.anchor == "planet:mars"


@pytest.mark.parametrize("handles", [(), (Handle("token:tok_1"),)])
def test_a_record_that_no_revocation_could_hit_is_malformed(handles: tuple[Handle, ...]) -> None:
    with pytest.raises(MalformedMessageError, match="handle"):
        records.decode(
            records.encode(replace(messages.RECORD, handles=handles), signed_envelope.unsigned)
        )


def test_a_record_of_an_unknown_kind_is_malformed_and_quoted_briefly() -> None:
    content = msgpack.unpackb(
        msgpack.unpackb(records.encode(messages.RECORD, signed_envelope.unsigned))[3]
    )
    content[5] = "k" * 100_000
    with pytest.raises(MalformedMessageError, match="not known") as caught:
        records.decode(pack(1, b"", b"", msgpack.packb(content)))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_hash_has_32_bytes(length: int) -> None:
    with pytest.raises(MalformedMessageError):
        lookups.decode_request(pack(1, bytes(length)))


def test_a_first_heartbeat_carries_no_head_and_a_later_one_must() -> None:
    first = msgpack.unpackb(heartbeat.encode(messages.FIRST_HEARTBEAT))
    later = msgpack.unpackb(heartbeat.encode(messages.HEARTBEAT))
    for fields, head in ((first, messages.HEAD), (later, b"")):
        wrong = [*fields[:6], head, *fields[7:]]
        with pytest.raises(MalformedMessageError):
            heartbeat.decode(msgpack.packb(wrong))


@pytest.mark.parametrize(
    ("term_ms", "fits"),
    [(0, True), (MAX_TERM_MS, True), (MAX_TERM_MS + 1, False), (2**64 - 1, False)],
)
def test_a_lease_lasts_a_day_at_most(term_ms: int, fits: bool) -> None:
    reply = heartbeat.Reply(
        instance=messages.INSTANCE,
        nonce=messages.NONCE,
        position=Position(1, 1, messages.HEAD),
        grant_term_ms=term_ms,
        authority_us=0,
        payloads=(),
    )
    payload = heartbeat.encode_reply(reply)
    if fits:
        assert heartbeat.decode_reply(payload) == reply
    else:
        with pytest.raises(MalformedMessageError, match="term"):
            heartbeat.decode_reply(payload)


@pytest.mark.parametrize(("reason", "record"), [(None, None), (Reason.REVOKED, b"record")])
def test_a_verdict_is_a_denial_or_a_record(reason: Reason | None, record: bytes | None) -> None:
    both = socket_protocol.Verdict(1, messages.INSTANCE, reason, record, 0, 0)
    with pytest.raises(MalformedMessageError, match="verdict"):
        socket_protocol.decode_response(messages.unframed(socket_protocol.encode_response(both)))


@pytest.mark.parametrize(("slots", "stamps"), [((), ()), ((512,), ()), ((512,), (1, 2))])
def test_an_entry_has_a_stamp_for_each_of_its_slots(
    slots: tuple[int, ...], stamps: tuple[int, ...]
) -> None:
    entry = socket_protocol.Entry(1, messages.INSTANCE, b"record", slots, stamps, 0, 0, 1)
    with pytest.raises(MalformedMessageError, match="entry"):
        socket_protocol.decode_response(messages.unframed(socket_protocol.encode_response(entry)))


def test_a_greeting_of_another_protocol_is_refused_with_advice() -> None:
    with pytest.raises(MalformedMessageError, match="upgrade the older"):
        socket_protocol.decode_response(
            pack(1, 2, "checkout", messages.INSTANCE, messages.BOOT, "strict")
        )


def test_a_request_is_not_accepted_as_a_response() -> None:
    request = messages.unframed(socket_protocol.encode_request(socket_protocol.Clock(1)))
    with pytest.raises(MalformedMessageError):
        socket_protocol.decode_response(request)


def test_a_narrowed_record_is_refused_by_a_reader_that_does_not_know_removed_scopes() -> None:
    def first_number(record: Record) -> object:
        return msgpack.unpackb(
            msgpack.unpackb(records.encode(record, signed_envelope.unsigned))[3]
        )[0]

    assert first_number(messages.RECORD) == 1
    assert first_number(messages.NARROWED_RECORD) == 2
    assert first_number(messages.CONDITIONED_RECORD) == 3
