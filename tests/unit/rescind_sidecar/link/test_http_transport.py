"""The link over HTTP, where the connection fails in ways that only a race shows."""

from typing import Any

import pytest

from rescind.errors import UnreachableError
from rescind.wire import subjects
from rescind_sidecar.link.http_transport import HttpTransport


class ClosedAtOnce:
    """A pool whose connections the other side closes as they are made; anyio looks at no socket."""

    def stream(self, *_: object, **_named: object) -> None:
        raise AttributeError("'NoneType' object has no attribute 'getpeername'")


@pytest.mark.parametrize("subject", [subjects.HEARTBEAT, subjects.RESOLVE])
async def test_a_connection_that_is_closed_as_it_is_made_is_an_authority_that_is_away(
    subject: str,
) -> None:
    transport = HttpTransport(["http://127.0.0.1:9"])
    pool: Any = ClosedAtOnce()
    transport._looks = transport._rest = pool
    with pytest.raises(UnreachableError, match="no authority answered"):
        await transport.ask(subject, b"x", timeout_s=5)
    with pytest.raises(UnreachableError, match="no authority answered"):
        await transport.tell(subject, b"x")
