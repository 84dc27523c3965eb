"""A subscription to the sidecar's notifications of changes, and to its successors'."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

from rescind.errors import MalformedMessageError
from rescind.wire.socket_protocol import Changed, Frames, Watch, decode_response, encode_request

_RECONNECT_S = 0.02
_UNSUPPORTED_S = 1.0


class ChangeSubscription:
    """A connection that calls `on_change` after each change, and when it opens or closes.

    While `open` is False, changes are not notified: check without a notification.
    """

    def __init__(self, path: Callable[[], Path], on_change: Callable[[], None]) -> None:
        self.open = False
        self._path = path
        self._on_change = on_change
        self._socket: socket.socket | None = None

    async def listen(self) -> None:
        """Stay connected, until cancelled."""
        while True:
            has_received = await self._receive()
            self.open = False
            self._on_change()
            # A sidecar that closes the connection without a message is too old to support Watch.
            await asyncio.sleep(_RECONNECT_S if has_received else _UNSUPPORTED_S)

    async def _receive(self) -> bool:
        """Receive until the connection ends. Return False if it ended without a message."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as self._socket:
            self._socket.setblocking(False)
            try:
                await loop.sock_connect(self._socket, str(self._path()))
            except OSError:
                return True
            listener = _Listener(self._on_changed)
            transport, _ = await loop.create_unix_connection(lambda: listener, sock=self._socket)
            try:
                await listener.over.wait()
            finally:
                transport.abort()
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)  # the loop closes the socket one step after abort()
        return self.open

    def _on_changed(self) -> None:
        self.open = True
        self._on_change()

    def close_inherited(self) -> None:
        """Close a forked child's copy of the connection; the parent keeps its own."""
        if self._socket is not None:
            self._socket.close()


class _Listener(asyncio.Protocol):
    def __init__(self, on_changed: Callable[[], None]) -> None:
        self.over = asyncio.Event()
        self._on_changed = on_changed
        self._frames = Frames()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.WriteTransport", transport).write(encode_request(Watch(1)))

    def data_received(self, data: bytes) -> None:
        try:
            responses = [decode_response(message) for message in self._frames.feed(data)]
        except MalformedMessageError:
            self.over.set()
        else:
            if any(isinstance(response, Changed) for response in responses):
                self._on_changed()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.over.set()
