"""Messages as Envoy sends them, written with the codec, and readers of the answers."""

from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from rescind.testing import FakeVerifier
from rescind_sidecar.grpc.protobuf import many, one, read, text, write

Pairs = Iterable[tuple[str, str]]


def check_request(
    *headers: tuple[str, str], extensions: Pairs = (), address: str | None = "192.0.2.7"
) -> bytes:
    """Return a CheckRequest, with fields that a decision does not need."""
    raw = b"".join(
        write(1, write(1, name.encode()) + write(3, value.encode("latin-1")))
        for name, value in headers
    )
    http = write(2, b"GET") + write(4, b"/p?require=nothing") + write(9, 7) + write(13, raw)
    request = write(1, write(1, 1_800_000_000) + write(2, 5)) + write(2, http)
    attributes = b""
    if address is not None:
        socket_address = write(2, address.encode()) + write(3, 40_000)
        attributes += write(1, write(1, write(1, socket_address)))
    attributes += write(2, write(1, write(1, write(2, b"127.0.0.1") + write(3, 8080))))
    attributes += write(4, request)
    for name, value in extensions:
        attributes += write(10, write(1, name.encode()) + write(2, value.encode()))
    return write(1, attributes)


@dataclass(frozen=True)
class CheckResponse:
    """A CheckResponse as Envoy reads it."""

    code: int
    allowed: bool
    status: int | None
    headers: dict[str, str]
    removed: list[str]
    body: bytes


def check_response(message: bytes) -> CheckResponse:
    """Read a CheckResponse."""
    fields = read(message)
    (code,) = read(one(fields, 1))[1]
    assert isinstance(code, int)
    ok, denied = read(one(fields, 3)), read(one(fields, 2))
    status = read(one(denied, 1)).get(1, [None])[0]
    assert status is None or isinstance(status, int)
    headers = {}
    for option in many(ok or denied, 2):
        assert read(option)[3] == [2]  # OVERWRITE_IF_EXISTS_OR_ADD
        header = read(one(read(option), 1))
        headers[text(one(header, 1))] = text(one(header, 2))
    removed = [text(each) for each in many(ok, 5)]
    body = b"" if ok else one(denied, 3)
    return CheckResponse(code, bool(fields.get(3)), status, headers, removed, body)


def authorization(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"


@pytest.fixture
def verifier() -> FakeVerifier:
    return FakeVerifier(audience="search")
