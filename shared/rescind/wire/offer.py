"""Events that a restored ledger may have lost, offered by a sidecar that still has them (design 4).

The batch is as it was pushed, with its signature: the sidecar vouches for nothing. It goes in an
envelope with the instance's MAC, as a heartbeat does.
"""

from dataclasses import dataclass

from rescind.wire.heartbeat import INSTANCE_BYTES
from rescind.wire.packing import Fields, Payload, pack

_OFFER = 1
_TAKEN = 1


@dataclass(frozen=True, slots=True)
class Offer:
    """Offer one signed batch of an earlier epoch. A sidecar offers its newest first."""

    instance: bytes
    batch: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """Answer an offer: what was lost of it is in the ledger again. Older ones may be `wanted`."""

    wanted: bool


def encode(offer: Offer) -> bytes:
    """Write an offer."""
    return pack(_OFFER, offer.instance, offer.batch)


def decode(payload: Payload) -> Offer:
    """Read an offer. Raises MalformedMessageError."""
    fields = Fields(payload, message="offer").expect(_OFFER)
    return Offer(fields.octets(INSTANCE_BYTES), fields.octets())


def encode_taken(taken: Taken) -> bytes:
    """Write an answer to an offer."""
    return pack(_TAKEN, taken.wanted)


def decode_taken(payload: Payload) -> Taken:
    """Read an answer to an offer. Raises MalformedMessageError."""
    return Taken(Fields(payload, message="answer to an offer").expect(_TAKEN).flag())
