"""`python -m rescind_lab.demo.service NAME`: a small service, protected by the middleware.

Its calls need the scope `work:NAME`; `/stream` sends one event and then nothing. RESCIND_SOCKET
names its sidecar. It listens on any free port of loopback, and announces its URL.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from rescind.integrations.asgi import RescindMiddleware
from rescind_runtime import ready_line, supervise
from rescind_runtime.net import http_server
from rescind_runtime.supervise import Stop

SCOPE = "work:*"
"""The scope that a token needs to call every service."""


async def _work(request: Request) -> JSONResponse:
    return JSONResponse({"done_for": request.state.rescind.subject})


async def _stream(_request: Request) -> StreamingResponse:
    async def events() -> AsyncGenerator[str]:
        yield "data: started\n\n"
        await asyncio.Event().wait()

    return StreamingResponse(events(), media_type="text/event-stream")


async def _main(stop: Stop) -> None:
    routes = [Route("/work", _work), Route("/stream", _stream)]
    app = RescindMiddleware(Starlette(routes=routes), require={f"work:{sys.argv[1]}"})
    async with http_server.serving(app, "127.0.0.1:0") as url:
        ready_line.announce(url=url)
        await stop.wait()


if __name__ == "__main__":
    supervise.run(_main, name="demo service")
