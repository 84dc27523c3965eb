"""Receipts as they are signed and kept, to be checked offline years later."""

from rescind.core.receipt import Lenient, Outcome, Receipt, Verified
from rescind.errors import MalformedMessageError
from rescind.wire.heartbeat import INSTANCE_BYTES
from rescind.wire.packing import Fields, Payload, pack

_RECEIPT = 1
_VERIFIED = 1
_LENIENT = 1


def encode(receipt: Receipt) -> bytes:
    """Write a receipt: the content that the receipts key signs."""
    return pack(
        _RECEIPT,
        receipt.revocation_id,
        receipt.epoch,
        receipt.seq,
        receipt.committed_at_us,
        receipt.enforced_at_us,
        [
            (_VERIFIED, each.instance, each.service, each.outcome, each.latency_us)
            for each in receipt.verifiers
        ],
        [(_LENIENT, each.instance, each.service, each.until_us) for each in receipt.grace],
        *_later(receipt),
    )


def decode(content: Payload) -> Receipt:
    """Read a receipt. Raises MalformedMessageError."""
    fields = Fields(content, message="receipt").expect(_RECEIPT)
    return Receipt(
        revocation_id=fields.text(),
        epoch=fields.uint(),
        seq=fields.uint(),
        committed_at_us=fields.uint(),
        enforced_at_us=fields.uint(),
        verifiers=tuple(_verified(each) for each in fields.nested("verifier")),
        grace=tuple(_lenient(each) for each in fields.nested("lenient verifier")),
        payloads=fields.optional_chunks() if fields.more else (),
        unknown_grace_until_us=fields.optional_uint() if fields.more else None,
    )


def _later(receipt: Receipt) -> tuple[object, ...]:
    """Return the fields appended since the first version, without nils at the end."""
    if receipt.unknown_grace_until_us is not None:
        return receipt.payloads or None, receipt.unknown_grace_until_us
    return (receipt.payloads,) if receipt.payloads else ()


def _verified(fields: Fields) -> Verified:
    fields.expect(_VERIFIED)
    instance, service, outcome = fields.octets(INSTANCE_BYTES), fields.text(), fields.text()
    if outcome not in set(Outcome):
        raise MalformedMessageError("receipt", f"the outcome {outcome[:32]!r} is not known")
    return Verified(instance, service, Outcome(outcome), fields.uint())


def _lenient(fields: Fields) -> Lenient:
    fields.expect(_LENIENT)
    return Lenient(fields.octets(INSTANCE_BYTES), fields.text(), fields.uint())
