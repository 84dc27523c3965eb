"""Look-ups: requests for the record of a token, and the replies to them."""

from dataclasses import dataclass

from rescind.core.token_format import HASH_BYTES, POSSESSION_BYTES
from rescind.errors import MalformedMessageError
from rescind.wire.codec import Fields, Payload, pack
from rescind.wire.heartbeat import NONCE_BYTES

_REQUEST = 1
_ANSWER = 1
_UNAVAILABLE = 2


@dataclass(frozen=True, slots=True)
class PossessionProof:
    """The proof that a token was presented, and when: a recorded look-up proves nothing later.

    The instance had applied the ledger up to `seq`, and the authority's clock had reached `at_us`
    (Unix µs). `proof` is `token_format.possession`, encrypted by `instance_mac.mask` under the
    look-up's nonce.
    """

    seq: int
    at_us: int
    proof: bytes


@dataclass(frozen=True, slots=True)
class LookupRequest:
    """A request for the record of one token, by its SHA-256, in the envelope of an instance.

    An older sidecar sends neither a nonce nor an envelope. `presented` is None if no token is
    presented.
    """

    token_hash: bytes
    nonce: bytes | None = None
    presented: PossessionProof | None = None


@dataclass(frozen=True, slots=True)
class LookupAnswer:
    """The answer to a look-up: the record of the token, still encoded.

    `record` is None if no such token exists at `as_of`. `nonce` and `token_hash` are those of the
    look-up, so that a recorded answer is not accepted for another look-up. An older authority sends
    neither.
    """

    epoch: int
    as_of: int
    record: bytes | None
    nonce: bytes | None = None
    token_hash: bytes | None = None


@dataclass(frozen=True, slots=True)
class LookupUnavailable:
    """The reply that a look-up cannot be answered now: try another authority, or later."""

    nonce: bytes
    token_hash: bytes


def encode_request(request: LookupRequest) -> bytes:
    """Encode a look-up."""
    if request.nonce is None:
        return pack(_REQUEST, request.token_hash)
    proof = request.presented
    rest = (None, None, None) if proof is None else (proof.seq, proof.at_us, proof.proof)
    return pack(_REQUEST, request.token_hash, request.nonce, *rest)


def decode_request(payload: Payload) -> LookupRequest:
    """Decode a look-up. Raises MalformedMessageError."""
    fields = Fields(payload, message="look-up").expect(_REQUEST)
    token_hash = fields.octets(HASH_BYTES)
    if not fields.more:
        return LookupRequest(token_hash)
    nonce, presented = fields.optional_octets(NONCE_BYTES), _decode_proof(fields)
    if nonce is None and presented is not None:
        raise MalformedMessageError("look-up", "a proof without the nonce that hides it")
    return LookupRequest(token_hash, nonce, presented)


def _decode_proof(fields: Fields) -> PossessionProof | None:
    seq, at_us = fields.optional_uint(), fields.optional_uint()
    proof = fields.optional_octets(POSSESSION_BYTES)
    if seq is None or at_us is None or proof is None:
        return None
    return PossessionProof(seq, at_us, proof)


def encode_answer(answer: LookupAnswer) -> bytes:
    """Encode an answer to a look-up."""
    fields = (_ANSWER, answer.epoch, answer.as_of, answer.record)
    if answer.nonce is None:
        return pack(*fields)
    return pack(*fields, answer.nonce, answer.token_hash)


def decode_answer(payload: Payload) -> LookupAnswer:
    """Decode an answer to a look-up. Raises MalformedMessageError."""
    fields = Fields(payload, message="answer to a look-up").expect(_ANSWER)
    epoch, as_of, record = fields.uint(), fields.uint(), fields.optional_octets()
    if not fields.more:
        return LookupAnswer(epoch, as_of, record)
    nonce, token_hash = fields.optional_octets(NONCE_BYTES), fields.optional_octets(HASH_BYTES)
    if nonce is None or token_hash is None:
        return LookupAnswer(epoch, as_of, record)
    return LookupAnswer(epoch, as_of, record, nonce, token_hash)


def encode_unavailable(reply: LookupUnavailable) -> bytes:
    """Encode the reply that a look-up cannot be answered now."""
    return pack(_UNAVAILABLE, reply.nonce, reply.token_hash)


def decode_reply(payload: Payload) -> LookupAnswer | LookupUnavailable:
    """Decode either reply to a look-up. Raises MalformedMessageError."""
    fields = Fields(payload, message="reply to a look-up")
    if fields.tag != _UNAVAILABLE:
        return decode_answer(payload)
    return LookupUnavailable(fields.octets(NONCE_BYTES), fields.octets(HASH_BYTES))
