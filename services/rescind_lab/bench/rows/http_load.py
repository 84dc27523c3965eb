"""Load on an HTTP server: one call, repeated as fast as it is answered.

wrk makes the load if it is installed, else the bench's own loader. The loader is slower than the
servers: its figures are then limited by the loader, and only a ratio far from 1 is meaningful.
"""

import asyncio
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from rescind.core.times import NS_PER_S
from rescind_lab.errors import LabError
from rescind_runtime import clock
from rescind_runtime.data_dir import write_private

CONNECTIONS = 32

_RATE = re.compile(rb"Requests/sec:\s+([0-9.]+)")
_REFUSED = re.compile(rb"Non-2xx or 3xx responses: (\d+)")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class HttpCall:
    """A GET, or the POST of a form. The authorization and the form are secret."""

    url: str
    authorization: str | None = field(default=None, repr=False)
    form: str | None = field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that are not the client's own."""
        found = {} if self.authorization is None else {"Authorization": self.authorization}
        return found if self.form is None else {**found, "Content-Type": _FORM}

    def encode(self) -> bytes:
        """Return the call as the loader sends it."""
        method, body = ("GET", "") if self.form is None else ("POST", self.form)
        length = {} if self.form is None else {"Content-Length": str(len(body))}
        lines = [f"{name}: {text}\r\n" for name, text in {**self.headers, **length}.items()]
        path = urlsplit(self.url).path
        return f"{method} {path} HTTP/1.1\r\nHost: bench\r\n{''.join(lines)}\r\n{body}".encode()

    def script(self) -> str:
        """Return the call as a script of wrk. JSON texts are Lua texts."""
        lines = [f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}" for k, v in self.headers.items()]
        if self.form is not None:
            lines += ['wrk.method = "POST"', f"wrk.body = {json.dumps(self.form)}"]
        return "\n".join((*lines, ""))


class Load:
    """A generator of load."""

    def __init__(self, folder: Path, *, seconds: int) -> None:
        self._folder = folder
        self._seconds = seconds
        self.wrk = shutil.which("wrk")

    @property
    def name(self) -> str:
        """Return the name of the program that makes the load."""
        return "wrk" if self.wrk else "the bench's own loader (install wrk for a faster one)"

    @property
    def notes(self) -> str:
        """Return the conditions of a measurement."""
        return f"under {self.name}, {CONNECTIONS} connections"

    async def measure_per_s(self, call: HttpCall) -> float:
        """Return the number of calls a second that were answered with 200. Raises LabError."""
        if self.wrk:
            # In a file of mode 0600: a token never appears in argv.
            script = write_private(self._folder / "load.lua", call.script())
            return await run_wrk(
                self.wrk, script, call.url, connections=CONNECTIONS, seconds=self._seconds
            )
        return await _measure_with_loader(call, seconds=self._seconds)


async def run_wrk(wrk: str, script: Path, url: str, *, connections: int, seconds: int) -> float:
    """Run wrk with a script in one thread, and return its requests a second. Raises LabError."""
    process = await asyncio.create_subprocess_exec(
        *(wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    rate, refused = _RATE.search(output), _REFUSED.search(output)
    if rate is None or refused is not None:
        problem = f"{refused[1].decode()} requests failed" if refused else "wrk printed no rate"
        raise LabError(f"the measurement of {urlsplit(url).path} is invalid: {problem}")
    return float(rate[1])


async def read_accepted(reader: asyncio.StreamReader) -> None:
    """Read one response. Raises LabError unless its status is 200."""
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise LabError(f"the measurement is invalid: {head[:30]!r}")
    length = _LENGTH.search(head)
    if length is not None:
        await reader.readexactly(int(length[1]))


async def _measure_with_loader(call: HttpCall, *, seconds: int) -> float:
    address = urlsplit(call.url)
    request = call.encode()
    began_ns = clock.monotonic_raw_ns()
    ends_ns = began_ns + seconds * NS_PER_S

    async def send_requests() -> int:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        answered = 0
        while clock.monotonic_raw_ns() < ends_ns:
            writer.write(request)
            await read_accepted(reader)
            answered += 1
        writer.close()
        return answered

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(send_requests()) for _ in range(CONNECTIONS)]
    return sum(task.result() for task in tasks) * NS_PER_S / (clock.monotonic_raw_ns() - began_ns)
