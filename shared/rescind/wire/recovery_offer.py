"""Events that a restored ledger may have lost, offered by a sidecar that still has them (design 4).

The batch is unchanged, with the authority's signature: the sidecar does not vouch for it. The offer
goes in an envelope with the instance's MAC, as a heartbeat does.
"""

from dataclasses import dataclass

from rescind.wire.codec import Fields, Payload, pack
from rescind.wire.heartbeat import INSTANCE_BYTES

_OFFER = 1
_ANSWER = 1


@dataclass(frozen=True, slots=True)
class Offer:
    """One signed batch of an earlier epoch. A sidecar offers its newest batch first."""

    instance: bytes
    batch: bytes


@dataclass(frozen=True, slots=True)
class OfferAnswer:
    """The confirmation that the lost events of an offer are in the ledger again.

    `wanted` is True if the authority requests older batches.
    """

    wanted: bool


def encode(offer: Offer) -> bytes:
    """Encode an offer."""
    return pack(_OFFER, offer.instance, offer.batch)


def decode(payload: Payload) -> Offer:
    """Decode an offer. Raises MalformedMessageError."""
    fields = Fields(payload, message="offer").expect(_OFFER)
    return Offer(fields.octets(INSTANCE_BYTES), fields.octets())


def encode_offer_answer(answer: OfferAnswer) -> bytes:
    """Encode an answer to an offer."""
    return pack(_ANSWER, answer.wanted)


def decode_offer_answer(payload: Payload) -> OfferAnswer:
    """Decode an answer to an offer. Raises MalformedMessageError."""
    return OfferAnswer(Fields(payload, message="answer to an offer").expect(_ANSWER).flag())
