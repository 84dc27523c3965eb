"""The baseline for `/verify`: the same endpoint as an ASGI application on uvicorn.

    python -m rescind_lab.bench.processes.uvicorn_baseline

It runs in one process, with httptools and uvloop. It checks with the same SDK, and returns the same
headers. RESCIND_SOCKET names the sidecar.
"""

from typing import cast

import uvicorn
from starlette.types import Receive, Scope, Send

from rescind import Verifier
from rescind.core.verdict import Allowed
from rescind.wire import bearer
from rescind_runtime import ready_line, supervise
from rescind_runtime.net import http_server
from rescind_runtime.supervise import Stop


class _Verify:
    """The ASGI application."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        token = bearer.find(cast("list[tuple[bytes, bytes]]", scope["headers"]))
        freshness = self._verifier.freshness()
        verdict = await self._verifier.acheck(token or "")
        headers = [(b"cache-control", b"no-store"), (b"content-length", b"0")]
        if isinstance(verdict, Allowed):
            record = verdict.record
            facts = {
                b"x-rescind-subject": record.subject,
                b"x-rescind-kind": record.kind,
                b"x-rescind-token-id": record.token_id,
                b"x-rescind-scopes": " ".join(sorted(record.scopes)),
                b"x-rescind-scopes-removed": " ".join(record.removed),
                b"x-rescind-scopes-removed-count": str(len(record.removed)),
                b"x-rescind-chain": " ".join(record.chain),
                b"x-rescind-as-of": str(max(freshness.as_of, record.as_of)),
            }
            headers += [(name, text.encode()) for name, text in facts.items()]
        status = 200 if isinstance(verdict, Allowed) else 401
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


async def _main(stop: Stop) -> None:
    verifier = Verifier.attach()
    # Without the limits that the sidecar's server sets: they would slow uvicorn.
    config = uvicorn.Config(
        _Verify(verifier),
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
    )
    async with http_server.running(config, "127.0.0.1:0") as url:
        ready_line.announce(url=url)
        await stop.wait()
    verifier.close()


if __name__ == "__main__":
    supervise.run(_main, name="bench baseline")
