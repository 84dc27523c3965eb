"""How a sidecar asks for a lease, acknowledges, releases, and asks for events that it missed.

Each goes in an envelope (`wire.sealed`) with the MAC of its instance; `wanted` alone does not: it
asks for nothing that could do harm.
"""

from dataclasses import dataclass

from rescind.core.lease import MAX_TERM_MS
from rescind.core.ledger import HEAD_BYTES, Position
from rescind.errors import MalformedMessageError
from rescind.wire.packing import Fields, Payload, pack

INSTANCE_BYTES = 16
NONCE_BYTES = 16

ENROL_AGAIN = pack(1)
"""The answer to a MAC that is not right. It proves nothing, so it may cause nothing else."""

_HEARTBEAT = 1
_RELEASE = 2
_REPLY = 1
_ACK = 1
_WANTED = 1
_SINCE = 1
_EVENTS = 1


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Ask for a lease. `applied` is None before the first reply; the counter only grows."""

    instance: bytes
    nonce: bytes
    counter: int
    applied: Position | None
    service: str
    host: str
    version: str
    posture: str


@dataclass(frozen=True, slots=True)
class Release:
    """Give up an instance for ever: it answers no check any more."""

    instance: bytes
    counter: int


@dataclass(frozen=True, slots=True)
class Reply:
    """Grant a lease at `position`, with the events from the heartbeat's `applied` on.

    `authority_us` is Postgres's clock (Unix microseconds), read with `position`; `trust_serial`
    the number of the newest trust statement, 0 where it is not told.
    """

    instance: bytes
    nonce: bytes
    position: Position
    grant_term_ms: int
    authority_us: int
    payloads: tuple[bytes, ...]
    trust_serial: int = 0


@dataclass(frozen=True, slots=True)
class Ack:
    """Say that every reader of an instance's table sees the ledger up to `applied`."""

    instance: bytes
    counter: int
    applied: Position


@dataclass(frozen=True, slots=True)
class Wanted:
    """Ask every sidecar to acknowledge as soon as it has applied `seq`."""

    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class Since:
    """Ask for the events after `seq`."""

    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class Events:
    """Answer with events in order, from the one asked for; `epoch` is the ledger's own."""

    epoch: int
    payloads: tuple[bytes, ...]


def encode(message: Heartbeat | Release) -> bytes:
    """Write a heartbeat or a release: both go to one subject, so that neither overtakes."""
    if isinstance(message, Release):
        return pack(_RELEASE, message.instance, message.counter)
    return pack(
        _HEARTBEAT,
        message.instance,
        message.nonce,
        message.counter,
        *_position(message.applied),
        message.service,
        message.host,
        message.version,
        message.posture,
    )


def decode(payload: Payload) -> Heartbeat | Release:
    """Read a heartbeat or a release. Raises MalformedMessageError."""
    fields = Fields(payload, message="heartbeat")
    if fields.tag == _RELEASE:
        return Release(fields.octets(INSTANCE_BYTES), fields.uint())
    fields.expect(_HEARTBEAT)
    return Heartbeat(
        instance=fields.octets(INSTANCE_BYTES),
        nonce=fields.octets(NONCE_BYTES),
        counter=fields.uint(),
        applied=_applied(fields),
        service=fields.text(),
        host=fields.text(),
        version=fields.text(),
        posture=fields.text(),
    )


def encode_reply(reply: Reply) -> bytes:
    """Write a lease reply."""
    return pack(
        _REPLY,
        reply.instance,
        reply.nonce,
        *_position(reply.position),
        reply.grant_term_ms,
        reply.authority_us,
        reply.payloads,
        reply.trust_serial,
    )


def decode_reply(payload: Payload) -> Reply:
    """Read a lease reply. Raises MalformedMessageError."""
    fields = Fields(payload, message="lease reply").expect(_REPLY)
    reply = Reply(
        instance=fields.octets(INSTANCE_BYTES),
        nonce=fields.octets(NONCE_BYTES),
        position=Position(fields.uint(), fields.uint(), fields.octets(HEAD_BYTES)),
        grant_term_ms=fields.uint(),
        authority_us=fields.uint(),
        payloads=fields.chunks(),
        trust_serial=fields.uint() if fields.more else 0,
    )
    if reply.grant_term_ms > MAX_TERM_MS:
        raise MalformedMessageError("lease reply", f"a term of more than {MAX_TERM_MS} ms")
    return reply


def encode_ack(ack: Ack) -> bytes:
    """Write an acknowledgement."""
    return pack(_ACK, ack.instance, ack.counter, *_position(ack.applied))


def decode_ack(payload: Payload) -> Ack:
    """Read an acknowledgement. Raises MalformedMessageError."""
    fields = Fields(payload, message="acknowledgement").expect(_ACK)
    instance, counter = fields.octets(INSTANCE_BYTES), fields.uint()
    return Ack(instance, counter, Position(fields.uint(), fields.uint(), fields.octets(HEAD_BYTES)))


def encode_wanted(wanted: Wanted) -> bytes:
    """Write a wish for acknowledgements."""
    return pack(_WANTED, wanted.epoch, wanted.seq)


def decode_wanted(payload: Payload) -> Wanted:
    """Read a wish for acknowledgements. Raises MalformedMessageError."""
    fields = Fields(payload, message="wanted").expect(_WANTED)
    return Wanted(fields.uint(), fields.uint())


def encode_since(since: Since) -> bytes:
    """Write a request for missing events."""
    return pack(_SINCE, since.epoch, since.seq)


def decode_since(payload: Payload) -> Since:
    """Read a request for missing events. Raises MalformedMessageError."""
    fields = Fields(payload, message="since").expect(_SINCE)
    return Since(fields.uint(), fields.uint())


def encode_events(events: Events) -> bytes:
    """Write the answer to a request for missing events."""
    return pack(_EVENTS, events.epoch, events.payloads)


def decode_events(payload: Payload) -> Events:
    """Read the answer to a request for missing events. Raises MalformedMessageError."""
    fields = Fields(payload, message="events").expect(_EVENTS)
    return Events(fields.uint(), fields.chunks())


def _position(position: Position | None) -> tuple[int, int, bytes]:
    return (position.epoch, position.seq, position.head) if position else (0, 0, b"")


def _applied(fields: Fields) -> Position | None:
    epoch, seq = fields.uint(), fields.uint()
    # Epochs count from 1: zero says that the sidecar has adopted no ledger yet.
    head = fields.octets(HEAD_BYTES if epoch else 0)
    return Position(epoch, seq, head) if epoch else None
