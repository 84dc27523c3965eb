"""The details of a large receipt: every verifier, in chunks whose hashes the receipt signs.

The verifiers come first, then those in grace, each in the receipt's own order; every chunk but the
last contains `PER_CHUNK` of them. The bytes are canonical: the chunks can be encoded again from
their values, and their SHA-256 compared with the signed hashes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rescind.core.receipt import (
    MAX_GRACE,
    MAX_INLINE,
    EnforcingVerifier,
    Receipt,
    VerifierInGrace,
    summarised,
    summary_of,
)
from rescind.errors import MalformedMessageError, TooLargeError
from rescind.wire import receipts
from rescind.wire.codec import MAX_MESSAGE_BYTES, Fields, Payload, pack

PER_CHUNK = 1_000
MAX_CHUNKS = 4_096
"""Enough for four million verifiers; the hashes alone are 128 KiB of the signed content."""

_CHUNK = 1


@dataclass(frozen=True, slots=True)
class DetailsPage:
    """A part of a receipt's verifiers. `cursor` is the place of the next page, None at the end.

    Places number the verifiers, then those in grace that the receipt does not name itself. `first`
    is the place at which this page begins.
    """

    first: int
    verifiers: tuple[EnforcingVerifier, ...]
    grace: tuple[VerifierInGrace, ...]
    cursor: int | None


def divide(receipt: Receipt) -> tuple[Receipt, tuple[bytes, ...]]:
    """Return the receipt to sign for a complete one, and the chunks to store beside it.

    A small receipt is returned unchanged. Raises TooLargeError; then nothing is signed.
    """
    if len(receipt.verifiers) + len(receipt.grace) <= MAX_INLINE:
        return receipt, ()
    chunks = _encode_chunks(receipt.verifiers, receipt.grace)
    return summarised(receipt, tuple(map(_compute_hash, chunks))), chunks


def completed(
    signed: Receipt, verifiers: Sequence[EnforcingVerifier], grace: Sequence[VerifierInGrace]
) -> Receipt:
    """Return the complete receipt of a signed summary and all its details.

    Raises MalformedMessageError if the details are not exactly those whose hashes were signed.
    """
    complete = replace(signed, verifiers=tuple(verifiers), grace=tuple(grace), summary=None)
    try:
        divided, _ = divide(complete)
    except (TooLargeError, ValueError, OverflowError) as error:
        # A value that msgpack cannot encode, such as half a surrogate pair, was not signed either.
        raise MalformedMessageError("receipt", "its verifiers cannot be written") from error
    if divided != signed:
        raise MalformedMessageError("receipt", "its verifiers are not those that were signed")
    return complete


def span(receipt: Receipt, *, cursor: int, limit: int) -> range:
    """Return the numbers of the chunks that a page of a summary needs."""
    last = min(cursor + limit, length(receipt)) - 1
    if last < cursor:
        return range(0)
    return range(
        _find_place(receipt, cursor) // PER_CHUNK, _find_place(receipt, last) // PER_CHUNK + 1
    )


def page(receipt: Receipt, chunks: Sequence[Payload], *, cursor: int, limit: int) -> DetailsPage:
    """Return a page of a receipt; for a summary, from the chunks that `span` returns.

    Raises MalformedMessageError for a chunk other than the one whose hash was signed.
    """
    summary = receipt.summary
    ends = min(cursor + limit, length(receipt))
    following = ends if ends < length(receipt) else None
    if summary is None:
        return DetailsPage(cursor, receipt.verifiers[cursor:ends], (), following)
    numbers = span(receipt, cursor=cursor, limit=limit)
    if len(chunks) != len(numbers) or numbers.stop > len(summary.hashes):
        raise MalformedMessageError("receipt", "chunks of its details are missing")
    contents: list[EnforcingVerifier | VerifierInGrace] = []
    for number, chunk in zip(numbers, chunks, strict=True):
        if _compute_hash(chunk) != summary.hashes[number]:
            raise MalformedMessageError("receipt", f"chunk {number} is not the one that was signed")
        contents += _read(chunk)
    places = [
        _find_place(receipt, place) - numbers.start * PER_CHUNK for place in range(cursor, ends)
    ]
    if places and places[-1] >= len(contents):
        raise MalformedMessageError("receipt", "its chunks hold less than its counts say")
    selected = [contents[place] for place in places]
    return DetailsPage(
        cursor,
        tuple(each for each in selected if isinstance(each, EnforcingVerifier)),
        tuple(each for each in selected if isinstance(each, VerifierInGrace)),
        following,
    )


def length(receipt: Receipt) -> int:
    """Return the number of places in the pages of a receipt."""
    summary = receipt.summary
    if summary is None:
        return len(receipt.verifiers)
    return summary.verifiers + max(0, summary.grace - MAX_GRACE)


def _find_place(receipt: Receipt, place: int) -> int:
    """Return the place in the chunks, which also contain the grace that the receipt names."""
    return place if place < summary_of(receipt).verifiers else place + MAX_GRACE


def _encode_chunks(
    verifiers: Sequence[EnforcingVerifier], grace: Sequence[VerifierInGrace]
) -> tuple[bytes, ...]:
    many = len(verifiers) + len(grace)
    if many > MAX_CHUNKS * PER_CHUNK:
        raise TooLargeError(
            f"a receipt of {many:,} verifiers: at most {MAX_CHUNKS * PER_CHUNK:,} can be kept"
        )
    rows = [*map(receipts.encode_verifier, verifiers)]
    split = len(rows)
    rows += map(receipts.encode_grace, grace)
    chunks = tuple(
        pack(
            _CHUNK,
            rows[first : min(first + PER_CHUNK, split)],
            rows[max(first, split) : first + PER_CHUNK],
        )
        for first in range(0, many, PER_CHUNK)
    )
    longest = max(map(len, chunks))
    if longest > MAX_MESSAGE_BYTES:
        raise TooLargeError(
            f"{PER_CHUNK:,} verifiers of a receipt have {longest:,} bytes: readers take "
            f"{MAX_MESSAGE_BYTES:,}. Give their services shorter names"
        )
    return chunks


def _read(chunk: Payload) -> list[EnforcingVerifier | VerifierInGrace]:
    fields = Fields(chunk, message="receipt details").expect(_CHUNK)
    verifiers = [receipts.decode_verifier(each) for each in fields.nested("verifier")]
    return [
        *verifiers,
        *(receipts.decode_grace(each) for each in fields.nested("verifier in grace")),
    ]


def _compute_hash(chunk: Payload) -> bytes:
    return hashlib.sha256(chunk).digest()
