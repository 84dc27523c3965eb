"""An envelope for signed content: `[1, key id, signature, content]`.

Until the guarantee brings the keys, both are empty, and a reader takes the content as it is.
"""

from dataclasses import dataclass

from rescind.wire.packing import Fields, Payload, Run, pack

_TAG = 1
_FIELDS = Run(bytes, bytes, bytes)


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
    key_id, signature, content = fields.run(_FIELDS)
    return Sealed(content, key_id, signature)
