"""A FastAPI application whose calls need a token: uvicorn app:app."""

import asyncio
from typing import Annotated

from fastapi import Depends, FastAPI, Request, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import PlainTextResponse, StreamingResponse

from rescind import Record
from rescind.integrations.asgi import RescindMiddleware
from rescind.integrations.fastapi import Rescind

api = FastAPI()


@api.get("/", response_class=PlainTextResponse)
async def search(request: Request):
    return request.state.rescind.subject


@api.get("/admin", response_class=PlainTextResponse)
async def administer(record: Annotated[Record, Depends(Rescind(require={"admin:write"}))]):
    return record.subject


@api.get("/stream")
async def stream():
    return StreamingResponse(ticks(), media_type="text/event-stream")


async def ticks():
    while True:
        yield "data: 1\n\n"
        await asyncio.sleep(30)


@api.websocket("/websocket")
async def echo(websocket: WebSocket):
    await websocket.accept()
    while True:
        await websocket.send_text(await websocket.receive_text())


api.add_middleware(CORSMiddleware, allow_origins=["https://app.example.com"])
app = RescindMiddleware(api, require={"search:read"}, preflight=True)
