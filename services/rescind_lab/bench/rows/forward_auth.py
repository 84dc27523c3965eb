"""Row `http`: `/verify` of the sidecar, against the same endpoint written by hand on uvicorn.

wrk makes the load if it is installed, else the bench's own loader. The loader is slower than the
servers: its figures are then limited by the loader, and only a ratio far from 1 is meaningful.
"""

import asyncio
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from rescind.core.times import NS_PER_S
from rescind_lab.bench.comparison import Line, Measurement, Row, Statistic, Target
from rescind_lab.bench.measurement import MeasureRound, measure_in_turns
from rescind_lab.bench.samples import Unit
from rescind_lab.bench.system import BenchSystem
from rescind_lab.errors import LabError
from rescind_runtime import clock
from rescind_runtime.data_dir import write_private

_CONNECTIONS = 32
_RATE = re.compile(rb"Requests/sec:\s+([0-9.]+)")
_REFUSED = re.compile(rb"Non-2xx or 3xx responses: (\d+)")
_BASELINE = "rescind_lab.bench.processes.uvicorn_baseline"


class Load:
    """A generator of load: it sends requests with a token to a URL, as fast as it answers."""

    def __init__(self, folder: Path, *, seconds: int) -> None:
        self._folder = folder
        self._seconds = seconds
        self.wrk = shutil.which("wrk")

    @property
    def name(self) -> str:
        """Return the name of the program that makes the load."""
        return "wrk" if self.wrk else "the bench's own loader (install wrk for a faster one)"

    async def measure_per_s(self, url: str, token: str) -> float:
        """Return the number of requests a second that were answered with 200."""
        if self.wrk:
            return await self._measure_with_wrk(self.wrk, url, token)
        return await _measure_with_loader(url, token, seconds=self._seconds)

    async def _measure_with_wrk(self, wrk: str, url: str, token: str) -> float:
        # In a file of mode 0600: a token never appears in argv.
        script = write_private(
            self._folder / "load.lua", f'wrk.headers["Authorization"] = "Bearer {token}"\n'
        )
        return await run_wrk(wrk, script, url, connections=_CONNECTIONS, seconds=self._seconds)


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


async def _measure_with_loader(url: str, token: str, *, seconds: int) -> float:
    address = urlsplit(url)
    request = (
        f"GET {address.path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n\r\n"
    ).encode()
    began_ns = clock.monotonic_raw_ns()
    ends_ns = began_ns + seconds * NS_PER_S

    async def send_requests() -> int:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        answered = 0
        while clock.monotonic_raw_ns() < ends_ns:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise LabError(f"the measurement is invalid: {head[:30]!r}")
            answered += 1
        writer.close()
        return answered

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(send_requests()) for _ in range(_CONNECTIONS)]
    return sum(task.result() for task in tasks) * NS_PER_S / (clock.monotonic_raw_ns() - began_ns)


async def measure(bench: BenchSystem) -> dict[str, Measurement]:
    """Load both sides in turns, with one token."""
    (token,) = await bench.issue(1)
    load = Load(bench.system.directory, seconds=bench.choose(quick=1, full=2))
    async with bench.run_process(_BASELINE, RESCIND_SOCKET=bench.sidecar.socket) as (_, facts):
        bench.show_step("/verify under load")

        async def measure_ours() -> float:
            return await load.measure_per_s(f"{bench.sidecar.http}/verify", token)

        async def measure_theirs() -> float:
            return await load.measure_per_s(f"{facts['url']}/verify", token)

        sides: dict[str, MeasureRound] = {"ours": measure_ours, "theirs": measure_theirs}
        timed = await measure_in_turns(sides, rounds=bench.choose(quick=1, full=5), unit=Unit.PER_S)
    return {
        "http.verify": Measurement(
            timed["ours"], timed["theirs"], f"under {load.name}, {_CONNECTIONS} connections"
        )
    }


ROW = Row(
    "http",
    (
        Line(
            "http.verify",
            "/verify, one worker",
            "the same endpoint by hand, on uvicorn with httptools",
            (Target(Statistic.RATIO, 2, at_least=True),),
        ),
    ),
    measure,
)
