"""A minimal client of a sidecar's socket, like a client in another language."""

import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from rescind.wire.socket_protocol import Frames, Request, Response, decode_response, encode_request
from rescind_lab.errors import LabError

_RECEIVE_BYTES = 65_536
_DEADLINE_S = 5.0


class SocketClient:
    """One connection. It has no pool, table or cache, which would change the measured times."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._frames = Frames()
        self._read: list[bytes] = []

    @classmethod
    @contextmanager
    def open(cls, path: str | Path) -> Generator["SocketClient"]:
        """Connect, and read the greeting."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_DEADLINE_S)
            connection.connect(str(path))
            client = cls(connection)
            client.receive()
            yield client

    def request(self, request: Request) -> Response:
        """Send one request, and wait for its response."""
        self._connection.sendall(encode_request(request))
        return self.receive()

    def send(self, requests: bytes) -> None:
        """Send encoded requests, without waiting for their responses."""
        self._connection.sendall(requests)

    def receive(self) -> Response:
        """Wait for the next response."""
        while not self._read:
            received = self._connection.recv(_RECEIVE_BYTES)
            if not received:
                raise LabError("the sidecar closed the connection of the bench")
            self._read = self._frames.feed(received)
        return decode_response(self._read.pop(0))
