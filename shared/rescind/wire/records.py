"""Records as Redis keeps them and sockets carry them, and the look-up that brings them."""

from dataclasses import dataclass

from rescind.core.handles import EVERYTHING, Handle
from rescind.core.record import Record
from rescind.core.revocation import Hold
from rescind.core.tokens import Kind
from rescind.errors import MalformedMessageError
from rescind.wire import sealed
from rescind.wire.packing import Fields, Payload, pack

HASH_BYTES = 32
LONGEST_TTL_MS = 600_000
"""How long Redis may keep a record that nobody reads again."""

_RECORD = 1
_HOLD = 1
_RESOLVE = 1
_RESOLVED = 1


def encode(record: Record) -> bytes:
    """Write a record, in its envelope."""
    content = pack(
        _RECORD,
        record.token_hash,
        record.epoch,
        record.as_of,
        record.token_id,
        record.kind,
        record.subject,
        sorted(record.scopes),
        sorted(record.audience),
        record.issued_at_us,
        record.issued_seq,
        record.not_before_us,
        record.expires_at_us,
        record.handles,
        [(_HOLD, hold.revocation_id, hold.effect, hold.seq) for hold in record.holds],
        record.tenant,
        record.client,
        record.session,
        record.labels,
        record.lineage,
        record.chain,
    )
    return sealed.encode(sealed.Sealed(content))


def decode(payload: Payload) -> Record:
    """Read a record out of its envelope. Raises MalformedMessageError."""
    fields = Fields(sealed.decode(payload).content, message="record").expect(_RECORD)
    record = Record(
        token_hash=fields.octets(HASH_BYTES),
        epoch=fields.uint(),
        as_of=fields.uint(),
        token_id=fields.text(),
        kind=_kind(fields.text()),
        subject=fields.text(),
        scopes=frozenset(fields.texts()),
        audience=frozenset(fields.texts()),
        issued_at_us=fields.uint(),
        issued_seq=fields.uint(),
        not_before_us=fields.uint(),
        expires_at_us=fields.uint(),
        handles=tuple(Handle(text) for text in fields.texts()),
        holds=tuple(_hold(hold) for hold in fields.nested("hold")),
        tenant=fields.optional_text(),
        client=fields.optional_text(),
        session=fields.optional_text(),
        labels=fields.pairs(),
        lineage=fields.texts(),
        chain=fields.texts(),
    )
    if EVERYTHING not in record.handles:
        # Without its handles nothing could ever hit it.
        raise MalformedMessageError("record", "it lacks the handle that every record has")
    return record


def key(epoch: int, token_hash: bytes) -> str:
    """Name a record in Redis. Another epoch never finds it."""
    return f"rescind:v1:{epoch}:{token_hash.hex()}"


def _hold(fields: Fields) -> Hold:
    fields.expect(_HOLD)
    return Hold(fields.text(), fields.text(), fields.uint())


def _kind(text: str) -> Kind:
    try:
        return Kind(text)
    except ValueError as error:
        raise MalformedMessageError("record", f"the kind {text[:40]!r} is not known") from error


@dataclass(frozen=True, slots=True)
class Resolve:
    """Ask for the record of one token, by its SHA-256."""

    token_hash: bytes


@dataclass(frozen=True, slots=True)
class Resolved:
    """Answer with the record, still encoded, or None where no such token is known at `as_of`."""

    epoch: int
    as_of: int
    record: bytes | None


def encode_resolve(resolve: Resolve) -> bytes:
    """Write a look-up."""
    return pack(_RESOLVE, resolve.token_hash)


def decode_resolve(payload: Payload) -> Resolve:
    """Read a look-up. Raises MalformedMessageError."""
    return Resolve(Fields(payload, message="resolve").expect(_RESOLVE).octets(HASH_BYTES))


def encode_resolved(resolved: Resolved) -> bytes:
    """Write an answer to a look-up."""
    return pack(_RESOLVED, resolved.epoch, resolved.as_of, resolved.record)


def decode_resolved(payload: Payload) -> Resolved:
    """Read an answer to a look-up. Raises MalformedMessageError."""
    fields = Fields(payload, message="resolved").expect(_RESOLVED)
    return Resolved(fields.uint(), fields.uint(), fields.optional_octets())
