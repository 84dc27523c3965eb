"""A workload's memory and queues are bounded, whatever tokens it checks and whatever hangs."""

import asyncio
import os
import socket
from pathlib import Path

import pytest
from tests.support.outcomes import soon
from tests.support.sidecar import LedgerInMemory, running

from rescind import Allowed, UnreachableError, Verifier
from rescind.client.transport import LoopPipelines
from rescind.wire.socket_protocol import Greeting, Look, encode_response

MOST = 128


def test_memory_does_not_grow_with_distinct_tokens(tmp_path: Path) -> None:
    link = LedgerInMemory()
    with running(tmp_path / "search.sock", link):
        verifier = Verifier.attach(tmp_path / "search.sock", timeout_s=5, most_entries=MOST)
        entries = verifier._connection._entries
        for _ in range(5 * MOST):
            newest = link.issue()
            assert isinstance(verifier.check(newest), Allowed)
            assert len(entries) <= MOST
            assert newest in entries
        assert len(entries) > MOST // 2
        verifier.close()


async def test_a_sidecar_that_does_not_read_does_not_fill_the_memory_of_its_client(
    tmp_path: Path,
) -> None:
    path = tmp_path / "hung.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        loops, loop = LoopPipelines(path), asyncio.get_running_loop()
        ends_s = loop.time() + 3
        most_buffered = 0
        async with asyncio.TaskGroup() as tasks:
            asking = [
                tasks.create_task(_refused(loops, Look(number, "x" * 1_000), ends_s))
                for number in range(3_000)
            ]
            while not all(each.done() for each in asking):
                await asyncio.sleep(0.01)
                (lane,) = loops._pipelines.values()
                if lane.pipeline is not None and lane.pipeline._transport is not None:
                    buffered = lane.pipeline._transport.get_write_buffer_size()
                    most_buffered = max(most_buffered, buffered)
        assert 0 < most_buffered < 128 * 1024
        assert all(each.result() for each in asking)
        assert lane.pipeline is not None
        assert not lane.pipeline._waiting
        loops.close()


async def test_a_client_that_waits_for_a_sidecar_to_read_learns_at_once_that_it_disconnected(
    tmp_path: Path,
) -> None:
    path = tmp_path / "slow.sock"
    greeting = encode_response(Greeting("search", bytes(16), os.urandom(16), "strict"))

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await asyncio.sleep(0.3)
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    async with server:
        loops, loop = LoopPipelines(path), asyncio.get_running_loop()
        began_s = loop.time()
        async with asyncio.TaskGroup() as tasks:
            asking = [
                tasks.create_task(_refused(loops, Look(number, "x" * 1_000), began_s + 9))
                for number in range(3_000)
            ]
        assert all(each.result() for each in asking)
        soon(loop.time() - began_s, at_most_s=5)
        loops.close()


async def _refused(loops: LoopPipelines, look: Look, ends_s: float) -> bool:
    with pytest.raises(UnreachableError):
        await loops.send(look, deadline_s=ends_s)
    return True
