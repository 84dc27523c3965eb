"""The baseline with a look-up in Redis: `/verify` and `/introspect` as teams write them by hand.

    python -m rescind_lab.bench.processes.redis_baseline PORT

An ASGI application in one process, on uvicorn with httptools and uvloop. Redis, on a port of
loopback, has a JSON document under the SHA-256 of each token: `bench:<hash>`. The ready line has
the secret of the one client that may introspect.
"""

# redis-py leaves types open:
# pyright: reportUnknownMemberType=false

import base64
import hashlib
import hmac
import json
import secrets
import sys
from typing import Any, cast
from urllib.parse import parse_qs

import redis.asyncio
import uvicorn
from starlette.types import Receive, Scope, Send

from rescind.wire import bearer
from rescind_runtime import ready_line, supervise
from rescind_runtime.net import http_server
from rescind_runtime.supervise import Stop

KEY = "bench:"
CLIENT_ID = "bench"


class _RedisLookup:
    """The ASGI application."""

    def __init__(self, client: redis.asyncio.Redis, secret: str) -> None:
        self._client = client
        self._authorization = b"Basic " + base64.b64encode(f"{CLIENT_ID}:{secret}".encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = cast("list[tuple[bytes, bytes]]", scope["headers"])
        if scope["path"] == "/introspect":
            await self._introspect(headers, receive, send)
            return
        record = await self._find(bearer.find(headers) or "")
        found = [] if record is None else [(b"x-rescind-subject", record["sub"].encode())]
        await _respond(send, 401 if record is None else 200, b"", found)

    async def _introspect(
        self, headers: list[tuple[bytes, bytes]], receive: Receive, send: Send
    ) -> None:
        sent = dict(headers).get(b"authorization", b"")
        if not hmac.compare_digest(sent, self._authorization):
            await _respond(send, 401, b"", [])
            return
        form = parse_qs((await receive()).get("body", b"").decode())
        record = await self._find(form["token"][0])
        answer = {"active": False} if record is None else {"active": True, **record}
        await _respond(send, 200, json.dumps(answer).encode(), [])

    async def _find(self, token: str) -> dict[str, Any] | None:
        found = await self._client.get(KEY + hashlib.sha256(token.encode()).hexdigest())
        return None if found is None else json.loads(found)


async def _respond(
    send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    own = [(b"cache-control", b"no-store"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body})


async def _main(stop: Stop) -> None:
    secret = secrets.token_urlsafe(32)
    client = redis.asyncio.Redis(host="127.0.0.1", port=int(sys.argv[1]))
    # Without the limits that the sidecar's server sets: they would slow uvicorn.
    config = uvicorn.Config(
        _RedisLookup(client, secret),
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
    )
    async with http_server.running(config, "127.0.0.1:0") as url:
        ready_line.announce(url=url, client_secret=secret)
        await stop.wait()
    await client.aclose()


if __name__ == "__main__":
    supervise.run(_main, name="bench baseline with Redis")
