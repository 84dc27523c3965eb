"""A receipt of any size can be signed, read again, paged, and verified against its details."""

import dataclasses
import hashlib

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.messages import RECEIPT

from rescind.core.receipt import (
    MAX_GRACE,
    MAX_INLINE,
    EnforcingVerifier,
    Outcome,
    Receipt,
    VerifierInGrace,
)
from rescind.errors import MalformedMessageError, TooLargeError
from rescind.wire import receipt_details, receipts, signed_envelope
from rescind.wire.codec import MAX_MESSAGE_BYTES
from rescind.wire.receipt_details import MAX_CHUNKS, PER_CHUNK
from rescind.wire.signed_envelope import SignedEnvelope

OUTCOMES = tuple(Outcome)


def receipt_of(verifiers: int, grace: int = 0, *, service: str = "search") -> Receipt:
    return dataclasses.replace(
        RECEIPT,
        verifiers=tuple(
            EnforcingVerifier(number.to_bytes(16), service, OUTCOMES[number % 3], 1_000 + number)
            for number in range(verifiers)
        ),
        grace=tuple(
            VerifierInGrace(
                (number | 1 << 64).to_bytes(16), service, 1_767_225_600_000_000 + number
            )
            for number in range(grace)
        ),
        payloads=(b"event",),
    )


HUGE = receipt_of(100_000)
STATED, CHUNKS = receipt_details.divide(HUGE)


@pytest.mark.parametrize("verifiers", [40_000, 70_000])
def test_a_receipt_that_could_not_be_read_again_is_refused_before_it_is_signed(
    verifiers: int,
) -> None:
    with pytest.raises(TooLargeError):
        receipts.encode(receipt_of(verifiers))


def test_the_largest_receipt_that_may_be_signed_can_be_read_in_its_envelope() -> None:
    longest = MAX_MESSAGE_BYTES - 1_024
    empty = dataclasses.replace(receipt_of(0), payloads=(bytes(longest - 1_000),))
    spare = longest - len(receipts.encode(empty))
    largest = dataclasses.replace(empty, payloads=(bytes(longest - 1_000 + spare),))
    content = receipts.encode(largest)
    assert len(content) == longest
    envelope = signed_envelope.encode(SignedEnvelope(content, bytes(16), bytes(64)))
    assert receipts.decode(signed_envelope.decode(envelope).content) == largest
    with pytest.raises(TooLargeError):
        receipts.encode(dataclasses.replace(empty, payloads=(bytes(longest - 999 + spare),)))


def test_names_too_long_for_any_chunk_raise_before_anything_is_signed() -> None:
    with pytest.raises(TooLargeError, match="shorter names"):
        receipt_details.divide(receipt_of(1_001, service="s" * 2_000))


def test_a_receipt_of_a_hundred_thousand_can_be_written_and_read_again() -> None:
    content = receipts.encode(STATED)
    assert len(content) < MAX_MESSAGE_BYTES // 10
    assert receipts.decode(content) == STATED
    assert STATED.summary is not None
    assert STATED.summary.verifiers == 100_000
    assert [len(CHUNKS), *{len(msgpack.unpackb(chunk)[1]) for chunk in CHUNKS}] == [100, PER_CHUNK]
    assert receipt_details.completed(STATED, HUGE.verifiers, HUGE.grace) == HUGE


def test_with_the_longest_names_and_all_bounds_reached_it_still_fits() -> None:
    longest = "s" * 256
    complete = receipt_of(2_000, 2_000, service=longest)
    services = tuple(
        dataclasses.replace(each, service=f"{number:0>256}")
        for number, each in enumerate(complete.verifiers)
    )
    stated, chunks = receipt_details.divide(dataclasses.replace(complete, verifiers=services))
    assert receipts.decode(receipts.encode(stated)) == stated
    assert all(len(chunk) < MAX_MESSAGE_BYTES for chunk in chunks)


@pytest.mark.parametrize("grace", [0, 400])
def test_a_small_receipt_names_all_its_verifiers_in_the_original_format(
    grace: int,
) -> None:
    small = receipt_of(MAX_INLINE - grace, grace)
    assert receipt_details.divide(small) == (small, ())
    assert msgpack.unpackb(receipts.encode(small))[0] == 1
    stated, chunks = receipt_details.divide(receipt_of(MAX_INLINE - grace + 1, grace))
    assert (msgpack.unpackb(receipts.encode(stated))[0], len(chunks)) == (2, 2)


def test_more_verifiers_than_can_be_stored_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipt_details, "MAX_CHUNKS", 2)
    receipt_details.divide(receipt_of(2 * PER_CHUNK))
    with pytest.raises(TooLargeError, match="2,001 verifiers"):
        receipt_details.divide(receipt_of(2 * PER_CHUNK + 1))
    assert MAX_CHUNKS * PER_CHUNK > 1_000_000


def pages(stated: Receipt, chunks: tuple[bytes, ...], limit: int) -> Receipt:
    """Put a receipt together again, as a client does."""
    verifiers: list[EnforcingVerifier] = []
    grace: list[VerifierInGrace] = list(stated.grace)
    cursor: int | None = 0
    while cursor is not None:
        numbers = receipt_details.span(stated, cursor=cursor, limit=limit)
        assert len(numbers) <= 3
        page = receipt_details.page(
            stated, chunks[numbers.start : numbers.stop], cursor=cursor, limit=limit
        )
        assert page.first == cursor
        assert len(page.verifiers) + len(page.grace) <= limit
        verifiers += page.verifiers
        grace += page.grace
        cursor = page.cursor
    if stated.summary is None:
        return dataclasses.replace(stated, verifiers=tuple(verifiers))
    return receipt_details.completed(stated, verifiers, grace)


@pytest.mark.parametrize(
    ("verifiers", "grace"),
    [(0, 0), (3, 2), (1_000, 0), (1_001, 0), (3_000, 0), (0, 1_700), (1_500, MAX_GRACE + 700)],
)
@settings(max_examples=8)
@given(limit=st.integers(300, 1_000))
def test_the_pages_of_any_limit_are_the_whole_receipt(
    verifiers: int, grace: int, limit: int
) -> None:
    complete = receipt_of(verifiers, grace)
    assert pages(*receipt_details.divide(complete), limit) == complete


def test_a_page_beyond_the_end_is_empty() -> None:
    for stated in (STATED, RECEIPT):
        assert receipt_details.span(stated, cursor=100_000, limit=10) == range(0)
        page = receipt_details.page(stated, (), cursor=100_000, limit=10)
        assert (page.verifiers, page.grace, page.cursor) == ((), (), None)


def test_a_changed_exchanged_or_lost_chunk_is_not_shown() -> None:
    changed = CHUNKS[3].replace(b"lapsed", b"lapse\0", 1)
    for chunks in ((changed,), (CHUNKS[4],), (), (CHUNKS[3], CHUNKS[4])):
        with pytest.raises(MalformedMessageError):
            receipt_details.page(STATED, chunks, cursor=3_000, limit=1_000)


def test_details_that_differ_from_the_signed_ones_are_detected() -> None:
    whole = receipt_of(3_000)
    stated, _ = receipt_details.divide(whole)
    one, two, *rest = whole.verifiers
    for verifiers in (
        (dataclasses.replace(one, latency_us=one.latency_us - 1), two, *rest),
        (dataclasses.replace(one, outcome=Outcome.RELEASED), two, *rest),
        (dataclasses.replace(one, service="x"), two, *rest),
        (two, one, *rest),
        (two, *rest),
        (one, one, *rest),
        (*whole.verifiers, one),
    ):
        with pytest.raises(MalformedMessageError):
            receipt_details.completed(stated, verifiers, ())
    with pytest.raises(MalformedMessageError):
        receipt_details.completed(
            stated, whole.verifiers, (VerifierInGrace(bytes(16), "search", 1),)
        )


@pytest.mark.parametrize("acknowledged", [2_500, 10**9])
def test_counts_that_contradict_the_chunks_are_malformed(
    acknowledged: int,
) -> None:
    stated, chunks = receipt_details.divide(receipt_of(2_500))
    assert stated.summary is not None
    summary = dataclasses.replace(stated.summary, acknowledged=acknowledged)
    lying = dataclasses.replace(stated, summary=summary)
    numbers = receipt_details.span(lying, cursor=2_000, limit=1_000)
    with pytest.raises(MalformedMessageError):
        receipt_details.page(lying, chunks[numbers.start : numbers.stop], cursor=2_000, limit=1_000)


def test_the_bytes_of_the_details_never_change() -> None:
    # As a receipt signed their hash, they must be written the same in ten years.
    assert hashlib.sha256(b"".join(CHUNKS)).hexdigest() == (
        "4f83a3c69434ec85118c771fba5f49df853059c0778510f8f0758dafeb8b6347"
    )
    _, (_, last) = receipt_details.divide(receipt_of(MAX_INLINE - 1, 2))
    assert last.hex() == (
        "930190919401c41000000000000000010000000000000001a6736561726368cf0006474846204001"
    )
