"""Whatever comes in, a decoder gives a message or MalformedMessageError: nothing else, and soon."""

import time
import tracemalloc
from dataclasses import replace

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import invalid_messages
from tests.support.messages import SAMPLES, Sample

from rescind.core.ledger import Position
from rescind.errors import MalformedMessageError
from rescind.wire import heartbeat, socket_protocol

every_message = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
every_decoder = pytest.mark.parametrize(
    "sample",
    list({sample.decode: sample for sample in SAMPLES}.values()),
    ids=lambda sample: sample.name,
)

BEAT = next(each.message for each in SAMPLES if isinstance(each.message, heartbeat.Heartbeat))
MAX_CPU_S = 1.0
MAX_BYTES = 64 << 20
MAX_TEXT = 300

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=12,
)


def survives(sample: Sample, payload: bytes) -> object:
    """Decode, and let pass only the one error; give the message, or None."""
    try:
        return sample.decode(payload)
    except MalformedMessageError as error:
        refusal = str(error)
    assert len(refusal) < MAX_TEXT
    return None


@every_message
def test_a_message_cut_at_any_byte_is_malformed(sample: Sample) -> None:
    payload = sample.encode(sample.message)
    for length in range(len(payload)):
        with pytest.raises(MalformedMessageError):
            sample.decode(payload[:length])


@every_message
def test_a_message_with_an_extra_byte_is_malformed(sample: Sample) -> None:
    payload = sample.encode(sample.message)
    for extra in (b"\0", b"\xc0", payload):
        with pytest.raises(MalformedMessageError):
            sample.decode(payload + extra)


@every_message
def test_a_field_of_a_wrong_type_is_malformed_or_another_good_message(sample: Sample) -> None:
    payload = sample.encode(sample.message)
    for wrong in invalid_messages.garbled(payload):
        decoded = survives(sample, wrong)
        if decoded is not None:
            assert type(decoded) in {type(other.message) for other in SAMPLES}


_APPENDED = {
    "trust statement, ending": 2,
    "trust statement, endless, of retired keys": 2,
    "signed trust statement, of links": 1,
    "heartbeat, telling its statement": 2,
    "heartbeat, telling its statement alone": 2,
    "reply, with a statement": 3,
    "enrolment, refused with a statement": 1,
    "check, by hash": 2,
}


@every_message
def test_a_message_that_lacks_its_last_field_of_meaning_is_malformed(sample: Sample) -> None:
    fields = msgpack.unpackb(sample.encode(sample.message))
    # The last field may be a MAC, which is not read here, or a field that was appended later.
    # Without that field the message is still valid.
    later = isinstance(
        sample.message,
        (socket_protocol.Now, socket_protocol.Look, socket_protocol.Check, heartbeat.Reply),
    ) or sample.name in {
        "event, lift",
        "credential, of a posture",
        "greeting, labelled",
        "receipt, telling",
        "used, at a time",
        "verdict, with the token's own times",
    }
    later |= sample.name.endswith("trailing")
    twice = sample.name in {"check, from an address", "now, refused"} or sample.name.endswith(
        "unknown grace"
    )
    appended = 2 if twice else int(later or fields[-1] == b"")
    if sample.name == "receipt, hit":
        appended = 3
    appended = _APPENDED.get(sample.name, appended)
    shorter = fields[: -1 - appended]
    with pytest.raises(MalformedMessageError):
        sample.decode(msgpack.packb(shorter))


@every_message
@pytest.mark.parametrize("tag", [0, 13, 255, 2**64 - 1])
def test_an_unknown_tag_is_malformed(sample: Sample, tag: int) -> None:
    _, *fields = msgpack.unpackb(sample.encode(sample.message))
    with pytest.raises(MalformedMessageError):
        sample.decode(msgpack.packb([tag, *fields]))


@every_decoder
@pytest.mark.parametrize("giant", invalid_messages.GIANTS.values(), ids=invalid_messages.GIANTS)
def test_an_oversized_message_is_refused_quickly_and_without_allocating_memory(
    sample: Sample, giant: bytes
) -> None:
    # A byte of a giant may claim much more than there is: nothing may be reserved for the claim.
    began_s = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(MalformedMessageError):
            sample.decode(giant)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.process_time() - began_s < MAX_CPU_S
    assert peak_bytes < MAX_BYTES


@every_decoder
@given(payload=st.binary(max_size=200))
def test_random_bytes_are_malformed_or_a_message(sample: Sample, payload: bytes) -> None:
    survives(sample, payload)


@every_decoder
@given(fields=st.lists(values, max_size=14))
def test_random_fields_are_malformed_or_a_message(sample: Sample, fields: list[object]) -> None:
    tag = msgpack.unpackb(sample.encode(sample.message))[0]
    survives(sample, msgpack.packb([tag, *fields]))


@every_message
@given(data=st.data())
def test_a_message_with_flipped_bytes_is_malformed_or_a_message(
    sample: Sample, data: st.DataObject
) -> None:
    payload = bytearray(sample.encode(sample.message))
    places = st.tuples(st.integers(0, len(payload) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(places, min_size=1, max_size=3)):
        payload[place] = value
    survives(sample, bytes(payload))


@every_message
@given(data=st.data())
def test_an_edited_message_is_malformed_or_one_that_can_be_written_and_read_again(
    sample: Sample, data: st.DataObject
) -> None:
    decoded = survives(sample, data.draw(invalid_messages.mutated(sample.encode(sample.message))))
    if decoded is not None:
        assert sample.decode(sample.encode(decoded)) == decoded


COUNTED: tuple[tuple[str, object], ...] = (
    ("counter", heartbeat.Release(bytes(16), 1 << 62)),
    ("counter", heartbeat.Ack(bytes(16), 1 << 62, Position(1, 1, bytes(32)))),
    ("epoch", heartbeat.Ack(bytes(16), 1, Position(1 << 62, 1, bytes(32)))),
    ("seq", heartbeat.Ack(bytes(16), 1, Position(1, 1 << 62, bytes(32)))),
    ("counter", replace(BEAT, counter=1 << 62)),
    ("epoch", replace(BEAT, applied=Position(1 << 62, 1, bytes(32)))),
    ("seq", replace(BEAT, applied=Position(1, 1 << 62, bytes(32)))),
    ("seq", heartbeat.Since(1, 1 << 62)),
    ("epoch", heartbeat.Since(1 << 62, 1)),
    ("seq", heartbeat.AckRequest(1, 1 << 62)),
)


@pytest.mark.parametrize(("what", "message"), COUNTED)
@pytest.mark.parametrize("beyond", [1 << 63, (1 << 64) - 1, (1 << 62) + 1])
def test_counters_are_limited_to_values_that_postgres_can_still_increment(
    what: str, message: object, beyond: int
) -> None:
    coders = {type(each.message): each for each in SAMPLES}
    sample = coders[type(message)]
    payload = sample.encode(message)
    assert sample.decode(payload) == message
    number = msgpack.packb(1 << 62)
    assert payload.count(number) == 1
    with pytest.raises(MalformedMessageError):
        sample.decode(payload.replace(number, msgpack.packb(beyond)))
