"""Records as Redis keeps them and sockets carry them, and the look-up that brings them."""

from dataclasses import dataclass
from typing import Any

from rescind.core.conditions import UNCONDITIONAL, Conditions, network
from rescind.core.handles import EVERYTHING
from rescind.core.record import Record
from rescind.core.revocation import Hold
from rescind.core.tokens import Kind
from rescind.errors import ConditionError, MalformedMessageError
from rescind.wire import sealed
from rescind.wire.packing import Fields, Payload, Run, pack
from rescind.wire.sealed import Seal

HASH_BYTES = 32
LONGEST_TTL_MS = 600_000
"""How long Redis may keep a record that nobody reads again."""

_RECORD = 1
_NARROWED = 2
_CONDITIONED = 3
_HOLD = 1
_FIELDS = Run(
    *(bytes, int, int, str, str, str, list, list, int, int, int, int, list, list),
    *(str | None, str | None, str | None, list, list, list),
)
_REMOVED = Run(list)
_CONDITIONS = Run(list, list)
_KINDS: dict[str, Kind] = {kind.value: kind for kind in Kind}
_RESOLVE = 1
_RESOLVED = 1


def encode(record: Record, seal: Seal) -> bytes:
    """Write a record, in its envelope."""
    # Tags of their own: a reader that knows nothing of removed scopes or conditions must refuse the
    # record, for one that skipped an appended field would allow what it forbids.
    conditions = record.conditions
    tag = _CONDITIONED if conditions else _NARROWED if record.removed else _RECORD
    content = pack(
        tag,
        record.token_hash,
        record.epoch,
        record.as_of,
        record.token_id,
        record.kind,
        record.subject,
        sorted(record.granted),
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
        *((record.removed,) if tag != _RECORD else ()),
        *((conditions.addresses, conditions.verifier) if conditions else ()),
    )
    return sealed.encode(seal(content))


def decode(payload: Payload) -> Record:
    """Read a record out of its envelope. Raises MalformedMessageError."""
    fields = Fields(sealed.decode(payload).content, message="record")
    narrowed, conditioned = fields.tag in {_NARROWED, _CONDITIONED}, fields.tag == _CONDITIONED
    if not narrowed:
        fields.expect(_RECORD)
    token_hash, epoch, as_of, token_id, kind, subject, *rest = fields.run(_FIELDS)
    scopes, audience, issued_at_us, issued_seq, not_before_us, expires_at_us, *rest = rest
    handles, holds, tenant, client, session, labels, lineage, chain = rest
    removed: list[str] = fields.run(_REMOVED)[0] if narrowed else []
    bound: list[list[Any]] = fields.run(_CONDITIONS) if conditioned else [[], []]
    addresses, verifier = bound
    if len(token_hash) != HASH_BYTES:
        raise MalformedMessageError("record", f"a token's hash has {HASH_BYTES} bytes")
    fields.insist_on_texts(scopes, audience, handles, lineage, chain, removed, addresses)
    record = Record(
        token_hash=token_hash,
        epoch=epoch,
        as_of=as_of,
        token_id=token_id,
        kind=_kind(kind),
        subject=subject,
        granted=frozenset(scopes),
        audience=frozenset(audience),
        issued_at_us=issued_at_us,
        issued_seq=issued_seq,
        not_before_us=not_before_us,
        expires_at_us=expires_at_us,
        handles=tuple(handles),
        holds=tuple(_hold(hold) for hold in fields.messages(holds, "hold")) if holds else (),
        tenant=tenant,
        client=client,
        session=session,
        labels=fields.pairs_of(labels) if labels else (),
        lineage=tuple(lineage),
        chain=tuple(chain),
        removed=tuple(removed),
        conditions=_conditions(fields, addresses, verifier) if conditioned else UNCONDITIONAL,
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


def _conditions(fields: Fields, addresses: list[str], verifier: list[Any]) -> Conditions:
    try:
        networks = tuple(network(each) for each in addresses)
    except ConditionError as error:
        raise MalformedMessageError("record", str(error)) from None
    return Conditions(networks, fields.pairs_of(verifier) if verifier else ())


def _kind(text: str) -> Kind:
    kind = _KINDS.get(text)
    if kind is None:
        raise MalformedMessageError("record", f"the kind {text[:40]!r} is not known")
    return kind


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
