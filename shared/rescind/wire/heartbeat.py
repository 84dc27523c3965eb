"""The messages of a sidecar's lease: heartbeats, acknowledgements, releases and missed events.

Each message is in an envelope (`wire.signed_envelope`) with the MAC of its instance. Only a request
for acknowledgements has no MAC: it can do no harm.
"""

from dataclasses import dataclass

from rescind.core.lease import MAX_TERM_MS
from rescind.core.ledger import HEAD_BYTES, Position
from rescind.errors import MalformedMessageError
from rescind.wire.codec import Fields, Payload, pack

INSTANCE_BYTES = 16
NONCE_BYTES = 16
MAX_TRAIL = 16

Trail = tuple[bytes, ...]
"""The nonces of the latest heartbeats of one process, which distinguish it from a copy of itself.

A copy of the process and its memory starts with the same nonces, but lacks those that the other
process creates from then on.
"""

ENROL_AGAIN = pack(1)
"""The answer to an incorrect MAC. It proves nothing, so it may have no other effect."""

_HEARTBEAT = 1
_RELEASE = 2
_REPLY = 1
_NO_LEASE = 2
_ACK = 1
_ACK_REQUEST = 1
_SINCE = 1
_EVENTS = 1


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A request for a lease. `applied` is None before the first reply; the counter only grows.

    `trail` is None from an older sidecar, which does not send it. `trust_serial` is the number of
    the sidecar's trust statement, and None from a sidecar that does not report it.
    """

    instance: bytes
    nonce: bytes
    counter: int
    applied: Position | None
    service: str
    host: str
    version: str
    posture: str
    trail: Trail | None = None
    trust_serial: int | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """The end of an instance: it never answers a check again."""

    instance: bytes
    counter: int
    trail: Trail | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A grant of a lease at `position`, with the events from the heartbeat's `applied` on.

    `authority_us` is Postgres's clock (Unix microseconds), read with `position`. `trust_serial` is
    the number of the newest trust statement, or 0 if it is not reported. `statement` is that
    statement if the sidecar's own is older, else empty. `enrol_again` is True if the instance can
    get a new secret, because its own is derived from a key that was rotated.
    """

    instance: bytes
    nonce: bytes
    position: Position
    grant_term_ms: int
    authority_us: int
    payloads: tuple[bytes, ...]
    trust_serial: int = 0
    statement: bytes = b""
    enrol_again: bool = False


@dataclass(frozen=True, slots=True)
class NoLease:
    """The refusal of a lease: the instance's row is at `counter`, or the instance is `over`.

    A process that has not reached `counter` shares its instance id with a copy of itself.
    """

    instance: bytes
    nonce: bytes
    counter: int
    over: bool


@dataclass(frozen=True, slots=True)
class Ack:
    """The promise that every reader of an instance's table sees the ledger up to `applied`."""

    instance: bytes
    counter: int
    applied: Position
    trail: Trail | None = None


@dataclass(frozen=True, slots=True)
class AckRequest:
    """A request to every sidecar to acknowledge as soon as it has applied `seq`."""

    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class Since:
    """A request for the events after `seq`."""

    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class Events:
    """The requested events, in order. `epoch` is the ledger's own."""

    epoch: int
    payloads: tuple[bytes, ...]


def encode(message: Heartbeat | Release) -> bytes:
    """Encode a heartbeat or a release. Both use one subject, which keeps their order."""
    if isinstance(message, Release):
        return pack(_RELEASE, message.instance, message.counter, *_encode_trail(message.trail))
    return pack(
        _HEARTBEAT,
        message.instance,
        message.nonce,
        message.counter,
        *_encode_position(message.applied),
        message.service,
        message.host,
        message.version,
        message.posture,
        *_encode_trail_and_serial(message.trail, message.trust_serial),
    )


def decode(payload: Payload) -> Heartbeat | Release:
    """Decode a heartbeat or a release. Raises MalformedMessageError."""
    fields = Fields(payload, message="heartbeat")
    if fields.tag == _RELEASE:
        return Release(fields.octets(INSTANCE_BYTES), fields.ordinal(), _decode_trail(fields))
    fields.expect(_HEARTBEAT)
    return Heartbeat(
        instance=fields.octets(INSTANCE_BYTES),
        nonce=fields.octets(NONCE_BYTES),
        counter=fields.ordinal(),
        applied=_decode_applied(fields),
        service=fields.text(),
        host=fields.text(),
        version=fields.text(),
        posture=fields.text(),
        trail=_decode_trail(fields),
        trust_serial=fields.optional_uint() if fields.more else None,
    )


def encode_reply(reply: Reply) -> bytes:
    """Encode a lease reply."""
    return pack(
        _REPLY,
        reply.instance,
        reply.nonce,
        *_encode_position(reply.position),
        reply.grant_term_ms,
        reply.authority_us,
        reply.payloads,
        reply.trust_serial,
        *((reply.statement, reply.enrol_again) if reply.statement or reply.enrol_again else ()),
    )


def decode_reply(payload: Payload) -> Reply:
    """Decode a lease reply. Raises MalformedMessageError."""
    fields = Fields(payload, message="lease reply").expect(_REPLY)
    reply = Reply(
        instance=fields.octets(INSTANCE_BYTES),
        nonce=fields.octets(NONCE_BYTES),
        position=Position(fields.ordinal(), fields.ordinal(), fields.octets(HEAD_BYTES)),
        grant_term_ms=fields.uint(),
        authority_us=fields.uint(),
        payloads=fields.chunks(),
        trust_serial=fields.uint() if fields.more else 0,
        statement=(fields.optional_octets() or b"") if fields.more else b"",
        enrol_again=fields.optional_flag() if fields.more else False,
    )
    if reply.grant_term_ms > MAX_TERM_MS:
        raise MalformedMessageError("lease reply", f"a term of more than {MAX_TERM_MS} ms")
    return reply


def encode_no_lease(refusal: NoLease) -> bytes:
    """Encode the refusal of a lease."""
    return pack(_NO_LEASE, refusal.instance, refusal.nonce, refusal.counter, refusal.over)


def decode_answer(payload: Payload) -> Reply | NoLease:
    """Decode the answer to a heartbeat. Raises MalformedMessageError."""
    fields = Fields(payload, message="lease reply")
    if fields.tag != _NO_LEASE:
        return decode_reply(payload)
    return NoLease(
        instance=fields.octets(INSTANCE_BYTES),
        nonce=fields.octets(NONCE_BYTES),
        counter=fields.ordinal(),
        over=fields.flag(),
    )


def encode_ack(ack: Ack) -> bytes:
    """Encode an acknowledgement."""
    return pack(
        _ACK, ack.instance, ack.counter, *_encode_position(ack.applied), *_encode_trail(ack.trail)
    )


def decode_ack(payload: Payload) -> Ack:
    """Decode an acknowledgement. Raises MalformedMessageError."""
    fields = Fields(payload, message="acknowledgement").expect(_ACK)
    instance, counter = fields.octets(INSTANCE_BYTES), fields.ordinal()
    applied = Position(fields.ordinal(), fields.ordinal(), fields.octets(HEAD_BYTES))
    return Ack(instance, counter, applied, _decode_trail(fields))


def encode_ack_request(request: AckRequest) -> bytes:
    """Encode a request for acknowledgements."""
    return pack(_ACK_REQUEST, request.epoch, request.seq)


def decode_ack_request(payload: Payload) -> AckRequest:
    """Decode a request for acknowledgements. Raises MalformedMessageError."""
    fields = Fields(payload, message="request for acknowledgements").expect(_ACK_REQUEST)
    return AckRequest(fields.ordinal(), fields.ordinal())


def encode_since(since: Since) -> bytes:
    """Encode a request for missing events."""
    return pack(_SINCE, since.epoch, since.seq)


def decode_since(payload: Payload) -> Since:
    """Decode a request for missing events. Raises MalformedMessageError."""
    fields = Fields(payload, message="since").expect(_SINCE)
    return Since(fields.ordinal(), fields.ordinal())


def encode_events(events: Events) -> bytes:
    """Encode the answer to a request for missing events."""
    return pack(_EVENTS, events.epoch, events.payloads)


def decode_events(payload: Payload) -> Events:
    """Decode the answer to a request for missing events. Raises MalformedMessageError."""
    fields = Fields(payload, message="events").expect(_EVENTS)
    return Events(fields.ordinal(), fields.chunks())


def _encode_position(position: Position | None) -> tuple[int, int, bytes]:
    return (position.epoch, position.seq, position.head) if position else (0, 0, b"")


def _encode_trail(trail: Trail | None) -> tuple[object, ...]:
    return () if trail is None else (trail,)


def _encode_trail_and_serial(trail: Trail | None, trust_serial: int | None) -> tuple[object, ...]:
    return _encode_trail(trail) if trust_serial is None else (trail, trust_serial)


def _decode_trail(fields: Fields) -> Trail | None:
    trail = fields.chunks_or_nil() if fields.more else None
    if trail is None:
        return None
    if len(trail) > MAX_TRAIL or any(len(nonce) != NONCE_BYTES for nonce in trail):
        raise MalformedMessageError("trail", f"not {MAX_TRAIL} nonces at the most")
    return trail


def _decode_applied(fields: Fields) -> Position | None:
    epoch, seq = fields.ordinal(), fields.ordinal()
    # Epochs count from 1: 0 means that the sidecar has not adopted a ledger yet.
    head = fields.octets(HEAD_BYTES if epoch else 0)
    return Position(epoch, seq, head) if epoch else None
