"""An ASGI application behind a real server, in a thread of the test."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import uvicorn
from tests.support.eventually import eventually_blocking


@contextmanager
def serving(
    application: Any, *, http: Literal["auto", "h11", "httptools"] = "auto"
) -> Iterator[int]:
    """Serve an application with uvicorn for the block; yield the port."""
    config = uvicorn.Config(
        application,
        http=http,
        ws="websockets-sansio",
        lifespan="off",
        log_config=None,
        log_level="error",
        loop="asyncio",
    )
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
    thread.start()
    try:
        eventually_blocking(lambda: server.started)
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
    assert not thread.is_alive()
