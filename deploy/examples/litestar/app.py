"""A Litestar application whose routes need a token: uvicorn app:app."""

import asyncio

from litestar import Litestar, Request, WebSocket, get, websocket
from litestar.config.cors import CORSConfig
from litestar.response import ServerSentEvent

from rescind.integrations.litestar import RescindPlugin, requires


@get("/")
async def search(request: Request) -> str:
    return request.state.rescind.subject


@get("/admin", guards=[requires("admin:write")])
async def administer(request: Request) -> str:
    return request.state.rescind.subject


@get("/stream")
async def stream() -> ServerSentEvent:
    return ServerSentEvent(ticks())


async def ticks():
    while True:
        yield "1"
        await asyncio.sleep(30)


@websocket("/websocket")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    while True:
        await socket.send_text(await socket.receive_text())


app = Litestar(
    [search, administer, stream, echo],
    plugins=[RescindPlugin(require={"search:read"})],
    cors_config=CORSConfig(allow_origins=["https://app.example.com"]),
)
