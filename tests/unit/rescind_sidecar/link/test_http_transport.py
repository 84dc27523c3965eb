"""The link over HTTP, where a connection fails as only a race or a server that hangs shows."""

import asyncio
import contextlib
import socket
from typing import Any

import pytest

from rescind.errors import UnreachableError
from rescind.wire import nats_subjects
from rescind_sidecar.link.http_transport import HttpTransport


class ClosedAtOnce:
    """A pool whose connections the other side closes as they are made; anyio looks at no socket."""

    def stream(self, *_: object, **_named: object) -> None:
        raise AttributeError("'NoneType' object has no attribute 'getpeername'")


@pytest.mark.parametrize("subject", [nats_subjects.HEARTBEAT, nats_subjects.RESOLVE])
async def test_a_connection_that_is_closed_at_once_is_an_unreachable_authority(
    subject: str,
) -> None:
    transport = HttpTransport(["http://127.0.0.1:9"])
    pool: Any = ClosedAtOnce()
    transport._lookup_pool = transport._other_pool = pool
    with pytest.raises(UnreachableError, match="no authority answered"):
        await transport.request(subject, b"x", timeout_s=5)
    with pytest.raises(UnreachableError, match="no authority answered"):
        await transport.send(subject, b"x")


@pytest.mark.parametrize("subject", [nats_subjects.HEARTBEAT, nats_subjects.RESOLVE])
async def test_a_server_that_hangs_in_the_handshake_costs_no_socket(subject: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        transport = HttpTransport([f"https://127.0.0.1:{hanging.getsockname()[1]}"])
        running = asyncio.create_task(transport.run())
        await asyncio.sleep(0)  # lets it open its pools
        for _ in range(3):
            with pytest.raises(UnreachableError):
                await transport.request(subject, b"x", timeout_s=0.2)
        hanging.setblocking(False)
        connections = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                with hanging.accept()[0] as connection:
                    connection.settimeout(5)
                    while connection.recv(4096):  # the greeting, and then the end
                        pass
                connections += 1
        assert connections
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
