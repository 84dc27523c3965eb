"""An envelope for content that is signed or carries a MAC: `[1, key id, signature, content]`.

Signed content (events, records, receipts) names its Ed25519 key. Content with a MAC (heartbeats and
their replies) names its instance. A reader checks the envelope before it decodes the content.
"""

from collections.abc import Callable
from dataclasses import dataclass

from rescind.wire.codec import Fields, Payload, Run, pack

_TAG = 1
_FIELDS = Run(bytes, bytes, bytes)


@dataclass(frozen=True, slots=True)
class SignedEnvelope:
    """Signed content, byte for byte, with the id of its key and the signature."""

    content: bytes
    key_id: bytes = b""
    signature: bytes = b""


Signer = Callable[[bytes], SignedEnvelope]
"""A function that puts content into an envelope with its signature."""


def unsigned(content: bytes) -> SignedEnvelope:
    """Return content without a signature: for a record between a sidecar and its workload."""
    return SignedEnvelope(content)


def encode(signed: SignedEnvelope) -> bytes:
    """Encode an envelope."""
    return pack(_TAG, signed.key_id, signed.signature, signed.content)


def decode(payload: Payload) -> SignedEnvelope:
    """Decode an envelope. Raises MalformedMessageError."""
    fields = Fields(payload, message="envelope").expect(_TAG)
    key_id, signature, content = fields.run(_FIELDS)
    return SignedEnvelope(content, key_id, signature)
