"""The messages of Envoy's external authorization: `envoy.service.auth.v3.Authorization/Check`.

The comments give the field numbers of Envoy's API (envoy/service/auth/v3/external_auth.proto and
attribute_context.proto). Only what a decision needs is read: never the path, the query or the body.
"""

import json
import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from rescind.core.record import Record
from rescind.wire.bearer import Refusal
from rescind_sidecar.data_plane import record_headers
from rescind_sidecar.grpc.protobuf import many, one, read, text, write

METHOD = ("envoy.service.auth.v3.Authorization", "Check")

_OK, _INVALID_ARGUMENT, _PERMISSION_DENIED, _INTERNAL, _UNAVAILABLE, _UNAUTHENTICATED = (
    *(0, 3, 7, 13, 14, 16),
)  # of google.rpc.Code
_CODES = {
    400: _INVALID_ARGUMENT,
    401: _UNAUTHENTICATED,
    403: _PERMISSION_DENIED,
    503: _UNAVAILABLE,
}
_OVERWRITE_IF_EXISTS_OR_ADD = 2
_OURS = (*record_headers.NAMES, record_headers.AS_OF)
# Behind CGI and WSGI, `x_rescind_subject` and `x.rescind.subject` are `x-rescind-subject` too.
_MADE_UP = re.compile(rb"x[^a-z0-9]rescind[^a-z0-9]")
_LOOK_ALIKES = [name.replace("-", "_") for name in _OURS]


class HeldCall(NamedTuple):
    """The parts of a CheckRequest that a decision needs.

    `headers` are as the caller sent them, with names in lower case. `extensions` are the
    `context_extensions` of the route, and `address` is the caller's, if it has one.
    """

    headers: list[tuple[bytes, bytes]]
    extensions: list[tuple[str, str]]
    address: str | None


def decode(message: bytes) -> HeldCall:
    """Return the call in a CheckRequest. Raises MalformedProtobufError."""
    attributes = read(one(read(message), 1))  # CheckRequest.attributes
    source = read(one(attributes, 1))  # AttributeContext.source
    socket_address = read(one(read(one(source, 1)), 1))  # Peer.address, Address.socket_address
    address = text(one(socket_address, 2))  # SocketAddress.address
    request = read(one(attributes, 4))  # AttributeContext.request
    extensions = [_read_entry(each) for each in many(attributes, 10)]  # .context_extensions
    return HeldCall(
        _read_headers(one(request, 2)),  # Request.http
        [(text(name), text(value)) for name, value in extensions],
        address or None,
    )


def _read_headers(http: bytes) -> list[tuple[bytes, bytes]]:
    fields = read(http)
    raw = many(read(one(fields, 13)), 1)  # HttpRequest.header_map, HeaderMap.headers
    if raw:
        return [_read_raw_header(each) for each in raw]
    # Without `encode_raw_headers`, Envoy joins the values of a header that comes twice by commas.
    # A token has none, so two tokens are still not taken for one.
    entries = map(_read_entry, many(fields, 3))  # HttpRequest.headers
    return [(name.lower(), value) for name, value in entries]


def _read_raw_header(header: bytes) -> tuple[bytes, bytes]:
    fields = read(header)  # HeaderValue: key, value, raw_value
    return one(fields, 1).lower(), one(fields, 3) or one(fields, 2)


def _read_entry(entry: bytes) -> tuple[bytes, bytes]:
    fields = read(entry)  # of a map: key, value
    return one(fields, 1), one(fields, 2)


def encode_record(record: Record) -> bytes:
    """Return the fields of an OkHttpResponse that depend on the record alone.

    The texts that are empty are removed, whatever the caller sent.
    """
    headers = record_headers.describe(record)
    present = [(name, value) for name, value in headers if value]
    empty = [name for name, value in headers if not value]
    return _write_headers(present) + _write_removals([*empty, *_LOOK_ALIKES])


def encode_allowed(record: bytes, *, as_of: int, sent: Collection[tuple[bytes, bytes]]) -> bytes:
    """Return the CheckResponse that lets a call go on, with the fields of `encode_record`.

    `sent` are the caller's headers. Those that an upstream could take for ours are removed.
    """
    fields = record + _write_headers([(record_headers.AS_OF, str(as_of))])
    made_up = {name.decode("latin-1") for name, _ in sent if _MADE_UP.match(name)}
    fields += _write_removals(sorted(made_up.difference(_OURS)))
    return _write_status(_OK) + write(3, fields)  # CheckResponse.ok_response


def encode_refusal(refusal: Refusal) -> bytes:
    """Return the CheckResponse that ends a call with a refusal."""
    # Envoy writes the length itself.
    headers = [each for each in refusal.headers if each[0] != "content-length"]
    return encode_denied(refusal.status, headers, refusal.body)


def encode_problem(status: int, slug: str, title: str, detail: str) -> bytes:
    """Return the CheckResponse that ends a call with a problem (RFC 9457)."""
    content = {
        "type": f"urn:rescind:problem:{slug}",
        "title": title,
        "status": status,
        "detail": detail,
    }
    headers = [("content-type", "application/problem+json"), ("cache-control", "no-store")]
    return encode_denied(status, headers, json.dumps(content).encode())


def encode_denied(status: int, headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
    """Return a CheckResponse that denies a call. Its code is never 0, which would allow it."""
    denied = write(1, write(1, status))  # DeniedHttpResponse.status, HttpStatus.code
    denied += _write_headers(headers) + write(3, body)  # .body
    return _write_status(_CODES.get(status, _INTERNAL)) + write(2, denied)  # .denied_response


def _write_status(code: int) -> bytes:
    return write(1, write(1, code))  # CheckResponse.status, google.rpc.Status.code


def _write_headers(headers: Iterable[tuple[str, str]]) -> bytes:
    """Return the headers of an OkHttpResponse or a DeniedHttpResponse: both have the number 2."""
    return b"".join(
        write(
            2,
            # HeaderValueOption: header (HeaderValue: key, value), append_action
            write(1, write(1, name.encode()) + write(2, value.encode()))
            + write(3, _OVERWRITE_IF_EXISTS_OR_ADD),
        )
        for name, value in headers
    )


def _write_removals(names: Iterable[str]) -> bytes:
    return b"".join(write(5, name.encode()) for name in names)  # OkHttpResponse.headers_to_remove
