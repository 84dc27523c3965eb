"""Sockets that listen."""

import asyncio
import socket

from rescind_runtime.net import listen


async def test_small_answers_are_sent_at_once() -> None:
    delayed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted = writer.get_extra_info("socket")
        delayed.set_result(not accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    bound = listen.bind("127.0.0.1:0")
    async with await asyncio.start_server(answer, sock=bound):
        _, writer = await asyncio.open_connection(*bound.getsockname())
        assert not await delayed
        writer.close()
        await writer.wait_closed()
