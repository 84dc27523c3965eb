"""Who watches a sidecar is told of every change, soon, and costs it no memory."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.sidecar import LedgerInMemory, RunningSidecar, running, wait_until

from rescind.wire.socket_protocol import (
    Changed,
    Frames,
    Response,
    Watch,
    decode_response,
    encode_request,
)


@pytest.fixture
def link() -> LedgerInMemory:
    return LedgerInMemory(term_ms=600_000)  # a heartbeat comes at least each quarter of it


@pytest.fixture
def sidecar(tmp_path: Path, link: LedgerInMemory) -> Iterator[RunningSidecar]:
    with running(tmp_path / "search.sock", link, interval_s=60) as sidecar:
        yield sidecar


class WatchConnection:
    """A connection that watches."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(10)
        self.socket.connect(str(path))
        self.socket.sendall(encode_request(Watch(7)))
        self._frames = Frames()
        self._come: list[Response] = []

    def next(self) -> Changed:
        while True:
            while not self._come:
                received = self.socket.recv(65_536)
                if not received:
                    raise EOFError
                self._come = [decode_response(each) for each in self._frames.feed(received)]
            response = self._come.pop(0)
            if isinstance(response, Changed):
                return response

    def until(self, as_of: int) -> int:
        """Read on until this position; say how often something came."""
        told = 1
        while self.next().as_of < as_of:
            told += 1
        return told


@contextmanager
def watching(sidecar: RunningSidecar) -> Iterator[WatchConnection]:
    connection = WatchConnection(sidecar.path)
    with connection.socket:
        yield connection


def test_a_watch_is_answered_at_once_and_again_after_each_change(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    with watching(sidecar) as one, watching(sidecar) as other:
        assert one.next() == other.next() == Changed(7, 0)
        sidecar.push(link.revoke("subject:agent:x"))
        assert one.next() == other.next() == Changed(7, 1)


def test_rapid_changes_are_sent_as_one(sidecar: RunningSidecar, link: LedgerInMemory) -> None:
    with watching(sidecar) as connection:
        connection.next()
        batches = [link.revoke("subject:agent:x") for _ in range(500)]

        def push() -> None:
            for batch in batches:
                sidecar.follow.receive_push(batch)

        sidecar.do(push)
        assert connection.until(500) <= 3


def test_a_watcher_that_does_not_read_costs_one_buffer_and_is_notified_when_it_reads_again(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    with watching(sidecar) as connection:
        connection.next()
        (served,) = sidecar.server.connections
        told = 0

        def tell() -> None:
            for _ in range(1_000):
                served._notify()

        while not served._write_paused and told < 200_000:
            sidecar.do(tell)
            told += 1_000
        assert served._write_paused
        sidecar.push(link.revoke("subject:agent:x"))
        wait_until(lambda: served._notification_due)
        assert served._transport is not None
        assert served._transport.get_write_buffer_size() < 100_000
        assert connection.until(1) <= told + 2


def test_a_watcher_that_disconnected_is_forgotten(sidecar: RunningSidecar) -> None:
    with watching(sidecar) as connection:
        connection.next()
        assert len(sidecar.watchers) == 1
    wait_until(lambda: len(sidecar.watchers) == 0)


def test_a_sidecar_that_stops_closes_its_watch_connections(
    tmp_path: Path, link: LedgerInMemory
) -> None:
    with running(tmp_path / "search.sock", link) as sidecar:
        connection = WatchConnection(sidecar.path)
        connection.next()
    with connection.socket, pytest.raises(EOFError):
        connection.until(1)
