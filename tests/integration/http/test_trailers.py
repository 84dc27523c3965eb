"""Which server takes trailers of a chunked body for headers, and so hands them to the middleware.

RFC 9110, section 6.5.1, forbids it. The sidecar drops them
(`tests/unit/rescind_sidecar/http/test_http1_trailers.py`); an application chooses its own server.
"""

from collections.abc import Callable
from typing import Any, Literal

import pytest
from tests.support.asgi_server import serving
from tests.support.http_exchange import ask, bearer

from rescind.integrations.asgi import RescindMiddleware
from rescind.testing import FakeVerifier


async def application(_scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    while (await receive()).get("more_body"):
        pass
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
    )
    await send({"type": "http.response.body"})


@pytest.mark.parametrize(("server", "status"), [("h11", 401), ("httptools", 200)])
async def test_httptools_treats_a_trailer_as_a_header_and_h11_does_not(
    server: Literal["h11", "httptools"], status: int
) -> None:
    verifier = FakeVerifier(audience="search")
    head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    trailer = bearer(verifier.issue().token).encode()
    with serving(RescindMiddleware(application, verifier), http=server) as port:
        # In one packet: all of it is parsed before the application is called.
        answer = await ask(port, head + b"1\r\nx\r\n0\r\n" + trailer + b"\r\n\r\n")
    assert answer.status == status
