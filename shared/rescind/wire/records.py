"""Records as Redis stores them and sockets carry them."""

from typing import Any

from rescind.core.conditions import UNCONDITIONAL, Conditions, network
from rescind.core.handles import EVERYTHING
from rescind.core.record import Record
from rescind.core.revocation import Restriction
from rescind.core.token_format import HASH_BYTES, Kind
from rescind.errors import ConditionError, MalformedMessageError
from rescind.wire import signed_envelope
from rescind.wire.codec import Fields, Payload, Run, pack
from rescind.wire.signed_envelope import Signer

MAX_TTL_MS = 600_000
"""How long Redis may store a record that is not read again."""

_RECORD = 1
_NARROWED = 2
_CONDITIONED = 3
_RESTRICTION = 1
_FIELDS = Run(
    *(bytes, int, int, str, str, str, list, list, int, int, int, int, list, list),
    *(str | None, str | None, str | None, list, list, list),
)
_REMOVED = Run(list)
_CONDITIONS = Run(list, list)
_KINDS: dict[str, Kind] = {kind.value: kind for kind in Kind}


def encode(record: Record, sign: Signer) -> bytes:
    """Encode a record, in its envelope."""
    # Separate tags: a reader that does not support removed scopes or conditions must reject the
    # record. If it ignored an appended field, it would allow more than the record does.
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
        [(_RESTRICTION, each.revocation_id, each.effect, each.seq) for each in record.restrictions],
        record.tenant,
        record.client,
        record.session,
        record.labels,
        record.lineage,
        record.chain,
        *((record.removed,) if tag != _RECORD else ()),
        *((conditions.addresses, conditions.verifier) if conditions else ()),
    )
    return signed_envelope.encode(sign(content))


def decode(payload: Payload) -> Record:
    """Decode a record out of its envelope. Raises MalformedMessageError."""
    fields = Fields(signed_envelope.decode(payload).content, message="record")
    if fields.tag not in {_NARROWED, _CONDITIONED}:
        fields.expect(_RECORD)
    token_hash, epoch, as_of, token_id, kind, subject, *rest = fields.run(_FIELDS)
    scopes, audience, issued_at_us, issued_seq, not_before_us, expires_at_us, *rest = rest
    handles, restrictions, tenant, client, session, labels, lineage, chain = rest
    removed, addresses, verifier = _decode_restrictions(fields)
    if len(token_hash) != HASH_BYTES:
        raise MalformedMessageError("record", f"a token's hash has {HASH_BYTES} bytes")
    fields.require_texts(scopes, audience, handles, lineage, chain, removed, addresses)
    record = Record(
        token_hash=token_hash,
        epoch=epoch,
        as_of=as_of,
        token_id=token_id,
        kind=_decode_kind(kind),
        subject=subject,
        granted=frozenset(scopes),
        audience=frozenset(audience),
        issued_at_us=issued_at_us,
        issued_seq=issued_seq,
        not_before_us=not_before_us,
        expires_at_us=expires_at_us,
        handles=tuple(handles),
        restrictions=tuple(
            _decode_restriction(each) for each in fields.messages(restrictions, "restriction")
        )
        if restrictions
        else (),
        tenant=tenant,
        client=client,
        session=session,
        labels=fields.pairs_of(labels) if labels else (),
        lineage=tuple(lineage),
        chain=tuple(chain),
        removed=tuple(removed),
        conditions=_decode_conditions(fields, addresses, verifier),
    )
    if EVERYTHING not in record.handles:
        # Without its handles, no event could ever hit it.
        raise MalformedMessageError("record", "it lacks the handle that every record has")
    return record


def key(epoch: int, token_hash: bytes) -> str:
    """Return the Redis key of a record. Another epoch never finds it."""
    return f"rescind:v1:{epoch}:{token_hash.hex()}"


def _decode_restriction(fields: Fields) -> Restriction:
    fields.expect(_RESTRICTION)
    return Restriction(fields.text(), fields.text(), fields.uint())


def _decode_restrictions(fields: Fields) -> tuple[list[Any], list[Any], list[Any]]:
    """Return the removed scopes and both lists of conditions, which some tags append."""
    if fields.tag == _RECORD:
        return [], [], []
    (removed,) = fields.run(_REMOVED)
    if fields.tag != _CONDITIONED:
        return removed, [], []
    addresses, verifier = fields.run(_CONDITIONS)
    return removed, addresses, verifier


def _decode_conditions(fields: Fields, addresses: list[str], verifier: list[Any]) -> Conditions:
    if fields.tag != _CONDITIONED:
        return UNCONDITIONAL
    try:
        networks = tuple(network(each) for each in addresses)
    except ConditionError as error:
        raise MalformedMessageError("record", str(error)) from None
    return Conditions(networks, fields.pairs_of(verifier) if verifier else ())


def _decode_kind(text: str) -> Kind:
    kind = _KINDS.get(text)
    if kind is None:
        raise MalformedMessageError("record", f"the kind {text[:40]!r} is not known")
    return kind
