"""The unix socket between a workload and its sidecar: frames, requests and replies.

A frame is a length (4 bytes, big-endian) and a message. The sidecar first sends a Greeting. Then
requests may be pipelined, and each reply carries the number of its request. Replies arrive in any
order. A Watch has many replies.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from rescind.core.token_format import HASH_BYTES, TokenHash
from rescind.core.verdict import Reason
from rescind.errors import MalformedMessageError
from rescind.wire.codec import Fields, Payload, Run, pack
from rescind.wire.heartbeat import INSTANCE_BYTES

PROTOCOL = 1
MAX_FRAME_BYTES = 1 << 20
BOOT_BYTES = 16

_LENGTH = struct.Struct(">I")
_ENTRY = Run(int, bytes, bytes, list, list, int, int, int)


class _Tag(IntEnum):
    GREETING = 1
    CLOCK = 2
    LOOK = 3
    CHECK = 4
    NOW = 5
    ENTRY = 6
    REFUSED = 7
    VERDICT = 8
    WATCH = 9
    CHANGED = 10
    LOOK_BY_HASH = 11
    CHECK_BY_HASH = 12


@dataclass(frozen=True, slots=True)
class Greeting:
    """The sidecar at this socket. `service` is the default audience of a check.

    `labels` are the verifier labels, which conditions of tokens name; an older sidecar has none.
    """

    service: str
    instance: bytes
    boot: bytes
    posture: str
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Clock:
    """A request for the sidecar's CLOCK_BOOTTIME, before its table's deadlines are trusted."""

    request: int


@dataclass(frozen=True, slots=True)
class Now:
    """The sidecar's CLOCK_BOOTTIME in nanoseconds, and the rest of its lease in milliseconds.

    `fresh_for_ms` is 0 without a lease. `refused` is why the authority grants no other lease. It is
    None if the authority grants leases, and from an older sidecar.
    """

    request: int
    boottime_ns: int
    fresh_for_ms: int = 0
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """A request for the record behind a token, to check it against the table from now on.

    A sidecar that has not applied the ledger up to `min_seq` answers `unavailable`. A token
    that is not presented now is named by its hash. An older sidecar then closes the connection.
    """

    request: int
    token: str | TokenHash
    min_seq: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A record, and its slots in the table, by which it can be checked again.

    `stamps` are the values of the slots at `generation`. `instance` names the table of the slots.
    The times are CLOCK_BOOTTIME in nanoseconds. `until_ns` is when to ask again: the token's end,
    or earlier.
    """

    request: int
    instance: bytes
    record: bytes
    slots: tuple[int, ...]
    stamps: tuple[int, ...]
    generation: int
    not_before_ns: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer that the token is denied, whatever a call requires."""

    request: int
    instance: bytes
    reason: Reason


@dataclass(frozen=True, slots=True)
class Check:
    """A request for a verdict, for workloads that cannot map the table.

    `audience` None means the service's own. `min_seq` is as in a Look; an older sidecar ignores it,
    so also compare it with the `as_of`. `address` is the caller's, None if it is not known. The
    token may be named by its hash, as in a Look.
    """

    request: int
    token: str | TokenHash
    require: tuple[str, ...]
    audience: str | None
    min_seq: int = 0
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict of a Check: a reason, or a record.

    With a record, `as_of` is the seq at which it is true, and `fresh_for_ms` the rest of the lease.
    `token_for_ms` is the time for which the token's own times need not be checked again. It is None
    from an older sidecar, and with a reason.
    """

    request: int
    instance: bytes
    reason: Reason | None
    record: bytes | None
    as_of: int
    fresh_for_ms: int
    token_for_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Watch:
    """A request for a notification of every change. An older sidecar closes the connection."""

    request: int


@dataclass(frozen=True, slots=True)
class Changed:
    """The answer to a Watch, at once and after each change of the table: check held tokens again.

    One message may cover many changes. `as_of` is the seq that the table shows, 0 before the
    first lease. The end of a lease is not a change: watch the deadlines as well.
    """

    request: int
    as_of: int


Request = Clock | Look | Check | Watch
Response = Greeting | Now | Entry | Refused | Verdict | Changed


def frame(message: bytes) -> bytes:
    """Put the length before a message."""
    return _LENGTH.pack(len(message)) + message


class Frames:
    """A stream of bytes, split into messages of limited length, however it arrives."""

    def __init__(self, *, longest_bytes: int = MAX_FRAME_BYTES) -> None:
        self._longest_bytes = longest_bytes
        self._buffer = bytearray()

    def feed(self, received: bytes) -> list[bytes]:
        """Return the complete messages. Raises MalformedMessageError for one that is too long."""
        buffer = self._buffer
        if not buffer and len(received) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(received)
            if length == len(received) - _LENGTH.size <= self._longest_bytes:
                return [received[_LENGTH.size :]]  # one whole message, as nearly always
        buffer += received
        messages: list[bytes] = []
        start = 0
        while len(buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, start)
            if length > self._longest_bytes:
                raise MalformedMessageError("frame", f"longer than {self._longest_bytes} bytes")
            end = start + _LENGTH.size + length
            if end > len(buffer):
                break
            messages.append(bytes(buffer[start + _LENGTH.size : end]))
            start = end
        del buffer[:start]
        return messages


def encode_request(request: Request) -> bytes:
    """Encode a request, framed."""
    match request:
        case Clock():
            return frame(pack(_Tag.CLOCK, request.request))
        case Watch():
            return frame(pack(_Tag.WATCH, request.request))
        case Look(number, token, min_seq):
            by_hash = isinstance(token, TokenHash)
            tag = _Tag.LOOK_BY_HASH if by_hash else _Tag.LOOK
            return frame(pack(tag, number, _encode_token(token), min_seq))
        case Check():
            by_hash = isinstance(request.token, TokenHash)
            return frame(
                pack(
                    _Tag.CHECK_BY_HASH if by_hash else _Tag.CHECK,
                    request.request,
                    _encode_token(request.token),
                    request.require,
                    request.audience,
                    request.min_seq,
                    *(() if request.address is None else (request.address,)),
                )
            )


def decode_request(payload: Payload) -> Request:
    """Decode a request out of its frame. Raises MalformedMessageError."""
    fields = Fields(payload, message="request")
    number = fields.uint()
    match fields.tag:
        case _Tag.LOOK:
            return Look(number, fields.text(), _decode_min_seq(fields))
        case _Tag.LOOK_BY_HASH:
            return Look(number, TokenHash(fields.octets(HASH_BYTES)), _decode_min_seq(fields))
        case _Tag.CLOCK:
            return Clock(number)
        case _Tag.WATCH:
            return Watch(number)
        case _Tag.CHECK:
            return _decode_check(number, fields.text(), fields)
        case _Tag.CHECK_BY_HASH:
            return _decode_check(number, TokenHash(fields.octets(HASH_BYTES)), fields)
        case tag:
            raise MalformedMessageError("request", f"the tag {tag} is not known")


def _encode_token(token: str | TokenHash) -> str | bytes:
    return token.octets if isinstance(token, TokenHash) else token


def _decode_check(number: int, token: str | TokenHash, fields: Fields) -> Check:
    return Check(
        number,
        token,
        fields.texts(),
        fields.optional_text(),
        _decode_min_seq(fields),
        fields.optional_text() if fields.more else None,
    )


def _decode_min_seq(fields: Fields) -> int:
    """Decode the appended `min_seq`; an older workload sends none, which means 0."""
    return fields.uint() if fields.more else 0


def encode_response(response: Response) -> bytes:
    """Encode a response, framed."""
    match response:
        case Greeting(service, instance, boot, posture, labels):
            appended = (labels,) if labels else ()
            return frame(pack(_Tag.GREETING, PROTOCOL, service, instance, boot, posture, *appended))
        case Now(request, boottime_ns, fresh_for_ms, refused):
            why = () if refused is None else (refused,)
            return frame(pack(_Tag.NOW, request, boottime_ns, fresh_for_ms, *why))
        case Entry():
            return frame(
                pack(
                    _Tag.ENTRY,
                    response.request,
                    response.instance,
                    response.record,
                    response.slots,
                    response.stamps,
                    response.generation,
                    response.not_before_ns,
                    response.until_ns,
                )
            )
        case Changed(request, as_of):
            return frame(pack(_Tag.CHANGED, request, as_of))
        case Refused(request, instance, reason):
            return frame(pack(_Tag.REFUSED, request, instance, reason))
        case Verdict():
            return frame(
                pack(
                    _Tag.VERDICT,
                    response.request,
                    response.instance,
                    response.reason,
                    response.record,
                    response.as_of,
                    response.fresh_for_ms,
                    *(() if response.token_for_ms is None else (response.token_for_ms,)),
                )
            )


def decode_response(payload: Payload) -> Response:
    """Decode a response out of its frame. Raises MalformedMessageError."""
    fields = Fields(payload, message="response")
    match fields.tag:
        case _Tag.ENTRY:
            return _decode_entry(fields)
        case _Tag.GREETING:
            return _decode_greeting(fields)
        case _Tag.NOW:
            return Now(
                fields.uint(),
                fields.uint(),
                fields.uint() if fields.more else 0,
                fields.optional_text() if fields.more else None,
            )
        case _Tag.REFUSED:
            return Refused(
                fields.uint(), fields.octets(INSTANCE_BYTES), _decode_reason(fields.text())
            )
        case _Tag.VERDICT:
            return _decode_verdict(fields)
        case _Tag.CHANGED:
            return Changed(fields.uint(), fields.uint())
        case tag:
            raise MalformedMessageError("response", f"the tag {tag} is not known")


def _decode_greeting(fields: Fields) -> Greeting:
    protocol = fields.uint()
    if protocol != PROTOCOL:
        raise MalformedMessageError(
            "greeting", f"protocol {protocol}, this client speaks {PROTOCOL}: upgrade the older"
        )
    return Greeting(
        fields.text(),
        fields.octets(INSTANCE_BYTES),
        fields.octets(BOOT_BYTES),
        fields.text(),
        fields.optional_pairs() if fields.more else (),
    )


def _decode_entry(fields: Fields) -> Entry:
    number, instance, record, slots, stamps, generation, not_before_ns, until_ns = fields.run(
        _ENTRY
    )
    fields.require_numbers(slots, stamps)
    if len(instance) != INSTANCE_BYTES:
        raise MalformedMessageError("entry", f"an instance has {INSTANCE_BYTES} bytes")
    if not slots or len(slots) != len(stamps):
        raise MalformedMessageError("entry", "slots and stamps do not fit each other")
    return Entry(
        request=number,
        instance=instance,
        record=record,
        slots=tuple(slots),
        stamps=tuple(stamps),
        generation=generation,
        not_before_ns=not_before_ns,
        until_ns=until_ns,
    )


def _decode_verdict(fields: Fields) -> Verdict:
    number, instance, reason = (
        fields.uint(),
        fields.octets(INSTANCE_BYTES),
        fields.optional_text(),
    )
    verdict = Verdict(
        request=number,
        instance=instance,
        reason=None if reason is None else _decode_reason(reason),
        record=fields.optional_octets(),
        as_of=fields.uint(),
        fresh_for_ms=fields.uint(),
        token_for_ms=fields.optional_uint() if fields.more else None,
    )
    if (verdict.reason is None) == (verdict.record is None):
        raise MalformedMessageError("verdict", "neither a denial nor a record, or both")
    return verdict


def _decode_reason(text: str) -> Reason:
    try:
        return Reason(text)
    except ValueError as error:
        raise MalformedMessageError("response", f"the reason {text[:40]!r} is not known") from error
