"""However large the events are, what carries them stays a message that can be read."""

from tests.support import messages

from rescind.wire import events, signed_envelope
from rescind.wire.codec import MAX_MESSAGE_BYTES
from rescind.wire.events import MAX_EVENTS, MAX_EVENTS_BYTES, Batch, fit


def test_small_events_are_limited_by_number() -> None:
    assert fit([b"small"] * 1000) == (b"small",) * MAX_EVENTS


def test_large_events_are_limited_by_their_bytes() -> None:
    large = b"x" * 5_800
    taken = fit([large] * MAX_EVENTS)
    assert len(taken) == MAX_EVENTS_BYTES // len(large)
    batch = Batch(3, 1, messages.HEAD, messages.NEXT_HEAD, False, taken)
    packed = events.encode_batch(batch, signed_envelope.unsigned)
    assert len(packed) < MAX_MESSAGE_BYTES
    assert events.decode_batch(packed) == batch


def test_the_first_event_always_fits() -> None:
    largest = b"x" * MAX_EVENTS_BYTES
    assert fit([largest, b"more"]) == (largest,)
