"""Receipts as they are signed and stored, to be checked offline years later.

A receipt that names all its verifiers has tag 1. A summary has tag 2, around a message of tag 1
with the verifiers that it names. A reader that supports only tag 1 rejects a summary, rather than
mistake the part for the whole.
"""

from dataclasses import replace

from rescind.core.receipt import (
    EnforcingVerifier,
    Outcome,
    Receipt,
    ServiceTotals,
    Summary,
    VerifierInGrace,
)
from rescind.errors import MalformedMessageError, TooLargeError
from rescind.wire.codec import MAX_ITEMS, MAX_MESSAGE_BYTES, Fields, Payload, pack, tag_of
from rescind.wire.heartbeat import INSTANCE_BYTES

HASH_BYTES = 32

_MAX_BYTES = MAX_MESSAGE_BYTES - 1_024
"""The envelope with key and signature is a message too, and must stay below the limit."""

_RECEIPT = 1
_SUMMARY = 2
_VERIFIED = 1
_LENIENT = 1
_TOTALS = 1


def encode(receipt: Receipt) -> bytes:
    """Encode a receipt: the content that the receipts key signs.

    Raises TooLargeError for a receipt that could not be decoded again. `receipt_details.divide`
    turns a receipt of any size into one that can.
    """
    receipt_bytes = _require_readable(
        pack(
            _RECEIPT,
            receipt.revocation_id,
            receipt.epoch,
            receipt.seq,
            receipt.committed_at_us,
            receipt.enforced_at_us,
            [encode_verifier(each) for each in receipt.verifiers],
            [encode_grace(each) for each in receipt.grace],
            *_collect_optional(receipt),
        ),
        longest=max(len(receipt.verifiers), len(receipt.grace), len(receipt.payloads)),
    )
    return (
        receipt_bytes
        if receipt.summary is None
        else _encode_summary(receipt.summary, receipt_bytes)
    )


def _encode_summary(summary: Summary, receipt_bytes: bytes) -> bytes:
    return _require_readable(
        pack(
            _SUMMARY,
            receipt_bytes,
            summary.acknowledged,
            summary.released,
            summary.lapsed,
            summary.grace,
            summary.grace_until_us,
            [
                (
                    _TOTALS,
                    each.service,
                    each.acknowledged,
                    each.released,
                    each.lapsed,
                    each.grace,
                    each.slowest_us,
                )
                for each in summary.services
            ],
            summary.services_left,
            summary.hashes,
        ),
        longest=max(len(summary.services), len(summary.hashes)),
    )


def _require_readable(content: bytes, *, longest: int) -> bytes:
    if len(content) > _MAX_BYTES or longest > MAX_ITEMS:
        raise TooLargeError(
            f"a receipt of {len(content):,} bytes, with a list of {longest:,}: its readers take "
            f"{_MAX_BYTES:,} bytes and {MAX_ITEMS:,}"
        )
    return content


def encode_verifier(each: EnforcingVerifier) -> tuple[object, ...]:
    """Return the fields of one verifier."""
    return (_VERIFIED, each.instance, each.service, each.outcome, each.latency_us)


def encode_grace(each: VerifierInGrace) -> tuple[object, ...]:
    """Return the fields of one verifier in grace."""
    return (_LENIENT, each.instance, each.service, each.until_us)


def decode(content: Payload) -> Receipt:
    """Decode a receipt. Raises MalformedMessageError."""
    if tag_of(content, message="receipt") == _SUMMARY:
        fields = Fields(content, message="receipt")
        return replace(_decode_receipt(fields.octets()), summary=_decode_summary(fields))
    return _decode_receipt(content)


def _decode_receipt(content: Payload) -> Receipt:
    fields = Fields(content, message="receipt").expect(_RECEIPT)
    return Receipt(
        revocation_id=fields.text(),
        epoch=fields.uint(),
        seq=fields.uint(),
        committed_at_us=fields.uint(),
        enforced_at_us=fields.uint(),
        verifiers=tuple(decode_verifier(each) for each in fields.nested("verifier")),
        grace=tuple(decode_grace(each) for each in fields.nested("verifier in grace")),
        payloads=fields.optional_chunks() if fields.more else (),
        unknown_grace_until_us=fields.optional_uint() if fields.more else None,
        hit=fields.optional_uint() if fields.more else None,
    )


def _collect_optional(receipt: Receipt) -> tuple[object, ...]:
    """Return the fields appended since the first version, without nils at the end."""
    optional = [receipt.payloads or None, receipt.unknown_grace_until_us, receipt.hit]
    while optional and optional[-1] is None:
        optional.pop()
    return tuple(optional)


def _decode_summary(fields: Fields) -> Summary:
    summary = Summary(
        acknowledged=fields.uint(),
        released=fields.uint(),
        lapsed=fields.uint(),
        grace=fields.uint(),
        grace_until_us=fields.uint(),
        services=tuple(_decode_totals(each) for each in fields.nested("tally")),
        services_left=fields.uint(),
        hashes=fields.chunks(),
    )
    if any(len(each) != HASH_BYTES for each in summary.hashes):
        raise MalformedMessageError("receipt", f"a hash has {HASH_BYTES} bytes")
    return summary


def _decode_totals(fields: Fields) -> ServiceTotals:
    fields.expect(_TOTALS)
    return ServiceTotals(
        service=fields.text(),
        acknowledged=fields.uint(),
        released=fields.uint(),
        lapsed=fields.uint(),
        grace=fields.uint(),
        slowest_us=fields.uint(),
    )


def decode_verifier(fields: Fields) -> EnforcingVerifier:
    """Decode one verifier. Raises MalformedMessageError."""
    fields.expect(_VERIFIED)
    instance, service, outcome = fields.octets(INSTANCE_BYTES), fields.text(), fields.text()
    if outcome not in set(Outcome):
        raise MalformedMessageError("receipt", f"the outcome {outcome[:32]!r} is not known")
    return EnforcingVerifier(instance, service, Outcome(outcome), fields.uint())


def decode_grace(fields: Fields) -> VerifierInGrace:
    """Decode one verifier in grace. Raises MalformedMessageError."""
    fields.expect(_LENIENT)
    return VerifierInGrace(fields.octets(INSTANCE_BYTES), fields.text(), fields.uint())
