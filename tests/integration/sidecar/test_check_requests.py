"""What a client without the table may rely on, as docs/protocol.md says it."""

import dataclasses
import socket
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest
from tests.support.sidecar import LedgerInMemory, running, wait_until

from rescind.core import token_format
from rescind.core.conditions import Conditions
from rescind.core.posture import Posture
from rescind.core.token_format import TokenHash
from rescind.core.verdict import Reason
from rescind.wire.socket_protocol import (
    Check,
    Frames,
    Greeting,
    Response,
    Verdict,
    decode_response,
    encode_request,
    frame,
)


class CheckConnection:
    """A connection that sends one check at a time."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(10)
        self.socket.connect(str(path))
        self._frames = Frames()
        assert isinstance(self._read(), Greeting)

    def _read(self) -> Response:
        while received := self.socket.recv(65_536):
            for message in self._frames.feed(received):
                return decode_response(message)
        raise EOFError

    def check(
        self,
        token: str | TokenHash,
        *,
        require: tuple[str, ...] = (),
        audience: str | None = None,
        address: str | None = None,
    ) -> Verdict:
        self.socket.sendall(encode_request(Check(1, token, require, audience, 0, address)))
        verdict = self._read()
        assert isinstance(verdict, Verdict)
        return verdict

    def closed_after(self, message: bytes) -> bool:
        self.socket.sendall(frame(message))
        return not self.socket.recv(65_536)


@pytest.fixture
def link() -> LedgerInMemory:
    return LedgerInMemory()


@pytest.fixture
def connection(tmp_path: Path, link: LedgerInMemory) -> Iterator[CheckConnection]:
    with running(tmp_path / "search.sock", link):
        connection = CheckConnection(tmp_path / "search.sock")
        with connection.socket:
            yield connection


def test_a_denial_has_neither_a_position_nor_times(connection: CheckConnection) -> None:
    denied = connection.check("nonsense")
    assert denied.reason is Reason.MALFORMED
    assert (denied.record, denied.as_of, denied.fresh_for_ms) == (None, 0, 0)
    assert denied.token_for_ms is None


def test_an_empty_audience_is_that_of_the_sidecar_and_any_other_may_be_named(
    connection: CheckConnection, link: LedgerInMemory
) -> None:
    here, elsewhere = link.issue(audience=("search",)), link.issue(audience=("checkout",))
    assert connection.check(here, audience="").reason is None
    assert connection.check(elsewhere, audience="").reason is Reason.WRONG_AUDIENCE
    assert connection.check(elsewhere, audience="checkout").reason is None


@pytest.mark.parametrize("wanted", ["a:x b:y", "a:x*y", "", 'a:"', "a:" + "x" * 127])
def test_a_text_that_is_not_a_scope_is_never_granted(
    connection: CheckConnection, link: LedgerInMemory, wanted: str
) -> None:
    token = link.issue(scopes=("a:*", "*"))
    assert connection.check(token, require=("a:x",)).reason is None
    assert connection.check(token, require=(wanted,)).reason is Reason.INSUFFICIENT_SCOPE
    assert connection.check(token, require=("a:x", wanted)).reason is Reason.INSUFFICIENT_SCOPE


def test_a_check_by_hash_is_answered_as_the_check_of_the_token(
    connection: CheckConnection, link: LedgerInMemory
) -> None:
    token = link.issue(scopes=("a",))
    by_hash = TokenHash(token_format.digest(token))
    asked, presented = connection.check(by_hash), connection.check(token)
    assert asked.record == presented.record is not None
    assert connection.check(by_hash, require=("b",)).reason is Reason.INSUFFICIENT_SCOPE
    assert connection.check(TokenHash(bytes(32))).reason is Reason.UNKNOWN


def test_a_hash_is_not_accepted_in_place_of_a_token(
    connection: CheckConnection, link: LedgerInMemory
) -> None:
    token_hash = token_format.digest(link.issue())
    assert connection.check(TokenHash(token_hash)).reason is None
    assert connection.check(token_hash.hex()).reason is Reason.MALFORMED


def test_a_hash_of_another_length_closes_the_connection(connection: CheckConnection) -> None:
    assert connection.closed_after(msgpack.packb([11, 1, bytes(31)]))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("192.0.2.7", None),
        ("::ffff:192.0.2.7", None),
        ("192.0.2.7:443", Reason.WRONG_ADDRESS),
        ("198.51.100.7", Reason.WRONG_ADDRESS),
        ("", Reason.WRONG_ADDRESS),
        (None, Reason.WRONG_ADDRESS),
    ],
)
def test_an_address_that_cannot_be_read_is_not_known(
    connection: CheckConnection, link: LedgerInMemory, address: str | None, reason: Reason | None
) -> None:
    token = link.issue()
    token_hash = token_format.digest(token)
    record = link._records[token_hash]
    bound = Conditions(addresses=("192.0.2.0/24",))
    link._records[token_hash] = dataclasses.replace(record, conditions=bound)
    assert connection.check(token, address=address).reason is reason


def test_a_number_may_have_any_width_and_is_never_a_float(
    connection: CheckConnection, link: LedgerInMemory
) -> None:
    token = msgpack.packb(link.issue())
    wide = b"\x96\xcf\0\0\0\0\0\0\0\4\xcd\0\1" + token + b"\x90\xc0\xcf" + bytes(8)
    connection.socket.sendall(frame(wide))
    verdict = connection._read()
    assert isinstance(verdict, Verdict)
    assert verdict.reason is None
    assert connection.closed_after(msgpack.packb([4, 1.0, "t", [], None, 0]))


def test_in_grace_a_verdict_is_allowed_and_its_lease_has_no_time_left(tmp_path: Path) -> None:
    link = LedgerInMemory(term_ms=300)
    posture = Posture.parse("grace:agent=60s")
    with running(tmp_path / "search.sock", link, posture=posture) as sidecar:
        connection = CheckConnection(tmp_path / "search.sock")
        with connection.socket:
            token = link.issue()
            assert connection.check(token).fresh_for_ms > 0
            link.reachable = False
            wait_until(lambda: not sidecar.leased)
            verdict = connection.check(token)
            assert (verdict.reason, verdict.fresh_for_ms) == (None, 0)
