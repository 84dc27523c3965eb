"""An aiohttp server whose calls need a token: python -m aiohttp.web app:build."""

import asyncio

from aiohttp import web

from rescind.integrations.aiohttp import RECORD, requires, setup


async def search(request):
    return web.Response(text=request[RECORD].subject)


@requires("admin:write")
async def administer(request):
    return web.Response(text=request[RECORD].subject)


async def stream(request):
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    while True:
        await response.write(b"data: 1\n\n")
        await asyncio.sleep(30)


async def echo(request):
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    async for message in websocket:
        await websocket.send_str(message.data)
    return websocket


async def allow(request):  # where aiohttp-cors would be
    return web.Response(status=204, headers={"Access-Control-Allow-Origin": "*"})


def build(_):
    app = web.Application()
    setup(app, require={"search:read"}, preflight=True)
    app.add_routes(
        [
            web.get("/", search),
            web.options("/", allow),
            web.get("/admin", administer),
            web.get("/stream", stream),
            web.get("/websocket", echo),
        ]
    )
    return app
