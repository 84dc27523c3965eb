"""Events as the ledger stores and chains them, and batches of them as NATS carries them.

The bytes of an event are its payload in the hash chain: the sequencer encodes them once, and they
are never encoded again.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from rescind.core.handles import Selector
from rescind.core.ledger import HEAD_BYTES
from rescind.core.revocation import Event, Revocation
from rescind.errors import MalformedMessageError
from rescind.wire import signed_envelope
from rescind.wire.codec import Fields, Payload, Run, pack
from rescind.wire.signed_envelope import Signer

_EVENT = 1
_BATCH = 1
_FIELDS = Run(int, int, int, str, str, list, int | None, int | None, list, str, str)

MAX_EVENTS = 256
"""The largest number of events in one batch, one lease reply or one answer to `since`."""

MAX_EVENTS_BYTES = 1 << 19
"""The largest size of these events: half a message, so that the rest of it always fits."""


def fit(payloads: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the first events, as many as fit into one message."""
    first: list[bytes] = []
    left_bytes = MAX_EVENTS_BYTES
    for payload in payloads:
        left_bytes -= len(payload)
        if left_bytes < 0 or len(first) == MAX_EVENTS:
            break
        first.append(payload)
    return tuple(first)


def encode(event: Event) -> bytes:
    """Encode an event: the payload of the ledger."""
    revocation = event.revocation
    return pack(
        _EVENT,
        event.epoch,
        event.seq,
        event.at_us,
        revocation.revocation_id,
        revocation.effect,
        revocation.selector.handles,
        revocation.issued_before_us,
        revocation.until_us,
        revocation.scopes,
        revocation.reason,
        revocation.actor,
        # Only a lift has this field. If a field is appended, the other effects must write nil here.
        *(() if revocation.lifts is None else (revocation.lifts,)),
    )


def decode(payload: Payload) -> Event:
    """Decode an event. Raises MalformedMessageError."""
    fields = Fields(payload, message="event").expect(_EVENT)
    epoch, seq, at_us, revocation_id, effect, handles, *rest = fields.run(_FIELDS)
    issued_before_us, until_us, scopes, reason, actor = rest
    fields.require_texts(handles, scopes)
    if not handles:
        raise MalformedMessageError("event", "a selector without a handle")
    return Event(
        epoch=epoch,
        seq=seq,
        at_us=at_us,
        revocation=Revocation(
            revocation_id=revocation_id,
            selector=Selector(tuple(handles)),
            effect=effect,
            reason=reason,
            actor=actor,
            issued_before_us=issued_before_us,
            until_us=until_us,
            scopes=tuple(scopes),
            lifts=fields.optional_text() if fields.more else None,
        ),
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that were committed together: `first_seq`, `first_seq` + 1, ….

    `before` and `after` are the ledger's heads before the first event and after the last. `awaited`
    is True if a client waits for the acknowledgements.
    """

    epoch: int
    first_seq: int
    before: bytes
    after: bytes
    awaited: bool
    payloads: tuple[bytes, ...]


def encode_batch(batch: Batch, sign: Signer) -> bytes:
    """Encode a batch, in its envelope."""
    content = pack(
        _BATCH,
        batch.epoch,
        batch.first_seq,
        batch.before,
        batch.after,
        batch.awaited,
        batch.payloads,
    )
    return signed_envelope.encode(sign(content))


def decode_batch(payload: Payload) -> Batch:
    """Decode a batch out of its envelope. Raises MalformedMessageError."""
    fields = Fields(signed_envelope.decode(payload).content, message="event batch").expect(_BATCH)
    return Batch(
        epoch=fields.ordinal(),
        first_seq=fields.ordinal(),
        before=fields.octets(HEAD_BYTES),
        after=fields.octets(HEAD_BYTES),
        awaited=fields.flag(),
        payloads=fields.chunks(),
    )
