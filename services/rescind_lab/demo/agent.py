"""`python -m rescind_lab.demo.agent CONFIG`: an agent that calls services until it is stopped.

It uses its tokens in turn, over one connection to each service. It prints its ready line when every
service has accepted each token once. When it is stopped, it writes all calls to a file.
"""

import asyncio
import itertools
import re
import sys
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from rescind_lab.demo import calls
from rescind_lab.demo.calls import AgentConfig, MeasuredCall
from rescind_lab.errors import LabError
from rescind_runtime import clock, ready_line, supervise
from rescind_runtime.supervise import Stop

_CALL_DEADLINE_S = 5.0
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_REASON = re.compile(rb"\r\nx-rescind-reason: *([a-z_]+)\r\n", re.IGNORECASE)


class _Connection:
    """A persistent HTTP/1.1 connection. It adds little to the time that the service takes."""

    def __init__(
        self, service: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._service = service
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, service: str, url: str) -> Self:
        address = urlsplit(url)
        return cls(service, *await asyncio.open_connection(address.hostname, address.port))

    async def call(self, name: str, token: str) -> MeasuredCall:
        request = f"GET /work HTTP/1.1\r\nhost: demo\r\nauthorization: Bearer {token}\r\n\r\n"
        began_ns = clock.boottime_ns()
        self._writer.write(request.encode())
        try:
            async with asyncio.timeout(_CALL_DEADLINE_S):
                head = await self._reader.readuntil(b"\r\n\r\n")
                ended_ns = clock.boottime_ns()
                length = _LENGTH.search(head)
                await self._reader.readexactly(int(length[1]) if length else 0)
        except (OSError, EOFError, TimeoutError) as error:
            raise LabError(f"{self._service} did not answer: {type(error).__name__}") from error
        status, reason = _STATUS.match(head), _REASON.search(head)
        return MeasuredCall(
            service=self._service,
            token=name,
            began_ns=began_ns,
            ended_ns=ended_ns,
            status=int(status[1]) if status else 0,
            reason=reason[1].decode() if reason else "",
        )

    def close(self) -> None:
        self._writer.close()


async def _call_repeatedly(
    config: AgentConfig, service: str, measured: list[MeasuredCall], stop: Stop, *, offset_s: float
) -> None:
    """Call one service repeatedly, at an even pace, with each token in turn."""
    connection = await _Connection.open(service, config.services[service])
    now = asyncio.get_running_loop().time
    due = now() + offset_s
    try:
        for name, token in itertools.cycle(config.tokens.items()):
            if stop.requested:
                return
            await asyncio.sleep(due - now())
            measured.append(await connection.call(name, token))
            # A late call moves all later calls.
            due = max(due + config.period_s, now())
    finally:
        connection.close()


async def _warm_up(config: AgentConfig) -> None:
    """Check that every service accepts every token before the measurement. Raises LabError."""
    for service, url in config.services.items():
        connection = await _Connection.open(service, url)
        for name, token in config.tokens.items():
            call = await connection.call(name, token)
            if not call.accepted:
                raise LabError(
                    f"{service} refused the {name} token before the measurement: "
                    f"{call.status} {call.reason}"
                )
        connection.close()


async def _main(stop: Stop) -> None:
    config = calls.read_config(Path(sys.argv[1]))
    measured: list[MeasuredCall] = []
    await _warm_up(config)
    async with asyncio.TaskGroup() as group:
        # The offsets spread the calls to the services evenly over time.
        for index, service in enumerate(config.services):
            offset_s = config.period_s * index / len(config.services)
            group.create_task(_call_repeatedly(config, service, measured, stop, offset_s=offset_s))
        ready_line.announce()
    calls.write_calls(config.report, measured)


if __name__ == "__main__":
    supervise.run(_main, name="demo agent")
