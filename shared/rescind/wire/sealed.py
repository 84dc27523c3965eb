"""An envelope for signed content: `[1, key id, signature, content]`.

Until the guarantee brings the keys, both are empty, and a reader takes the content as it is.
"""

from dataclasses import dataclass

from rescind.wire.packing import Fields, Payload, pack

_TAG = 1


@dataclass(frozen=True, slots=True)
class Sealed:
    """Content as it was signed, byte for byte."""

    content: bytes
    key_id: bytes = b""
    signature: bytes = b""


def encode(sealed: Sealed) -> bytes:
    """Write an envelope."""
    return pack(_TAG, sealed.key_id, sealed.signature, sealed.content)


def decode(payload: Payload) -> Sealed:
    """Read an envelope. Raises MalformedMessageError."""
    fields = Fields(payload, message="sealed").expect(_TAG)
    key_id, signature = fields.octets(), fields.octets()
    return Sealed(fields.octets(), key_id, signature)
