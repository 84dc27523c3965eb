"""Row `http`: `/verify` of the sidecar, against the same written by hand on uvicorn.

The load comes from wrk if it is installed, else from the bench's own loader, which is slower than
the servers. The figures are then those of the loader, and only a ratio far from 1 is meaningful.
"""

import asyncio
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from rescind.core.times import NS_PER_S
from rescind_lab.bench.comparison import Line, Measured, Row, Statistic, Target
from rescind_lab.bench.environment import BenchStage
from rescind_lab.bench.samples import Side, Unit, in_turns
from rescind_lab.errors import SceneError
from rescind_runtime import clock
from rescind_runtime.data_dir import write_private

_CONNECTIONS = 32
_RATE = re.compile(rb"Requests/sec:\s+([0-9.]+)")
_REFUSED = re.compile(rb"Non-2xx or 3xx responses: (\d+)")
_RIVAL = "rescind_lab.bench.processes.uvicorn_baseline"


class Load:
    """A load on one URL: as many requests with a header as it answers."""

    def __init__(self, folder: Path, *, seconds: int) -> None:
        self._folder = folder
        self._seconds = seconds
        self.wrk = shutil.which("wrk")

    @property
    def name(self) -> str:
        """The program that makes the load."""
        return "wrk" if self.wrk else "the bench's own loader (install wrk for a faster one)"

    async def per_s(self, url: str, token: str) -> float:
        """Return the number of requests a second that were answered with 200."""
        if self.wrk:
            return await self._under_wrk(self.wrk, url, token)
        return await _under_loader(url, token, seconds=self._seconds)

    async def _under_wrk(self, wrk: str, url: str, token: str) -> float:
        # In a file of mode 0600: a token never appears in argv.
        script = write_private(
            self._folder / "load.lua", f'wrk.headers["Authorization"] = "Bearer {token}"\n'
        )
        return await run_wrk(wrk, script, url, connections=_CONNECTIONS, seconds=self._seconds)


async def run_wrk(wrk: str, script: Path, url: str, *, connections: int, seconds: int) -> float:
    """Run wrk with a script in one thread, and return its requests a second. Raises SceneError."""
    process = await asyncio.create_subprocess_exec(
        *(wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    rate, refused = _RATE.search(output), _REFUSED.search(output)
    if rate is None or refused is not None:
        answered = f"{refused[1].decode()} were refused" if refused else "wrk gave no rate"
        raise SceneError(f"the load on {urlsplit(url).path} means nothing: {answered}")
    return float(rate[1])


async def _under_loader(url: str, token: str, *, seconds: int) -> float:
    where = urlsplit(url)
    request = (
        f"GET {where.path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n\r\n"
    ).encode()
    began_ns = clock.monotonic_raw_ns()
    ends_ns = began_ns + seconds * NS_PER_S

    async def client() -> int:
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        answered = 0
        while clock.monotonic_raw_ns() < ends_ns:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise SceneError(f"the load means nothing: {head[:30]!r}")
            answered += 1
        writer.close()
        return answered

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client()) for _ in range(_CONNECTIONS)]
    return sum(task.result() for task in tasks) * NS_PER_S / (clock.monotonic_raw_ns() - began_ns)


async def measure(stage: BenchStage) -> dict[str, Measured]:
    """Load both sides in turns, with one token."""
    (token,) = await stage.issue(1)
    load = Load(stage.system.directory, seconds=stage.choose(quick=1, full=2))
    async with stage.process(_RIVAL, RESCIND_SOCKET=stage.sidecar.socket) as (_, facts):
        stage.show_step("/verify under load")

        async def ours() -> float:
            return await load.per_s(f"{stage.sidecar.http}/verify", token)

        async def theirs() -> float:
            return await load.per_s(f"{facts['url']}/verify", token)

        sides: dict[str, Side] = {"ours": ours, "theirs": theirs}
        timed = await in_turns(sides, rounds=stage.choose(quick=1, full=5), unit=Unit.PER_S)
    return {
        "http.verify": Measured(
            timed["ours"], timed["theirs"], f"under {load.name}, {_CONNECTIONS} connections"
        )
    }


ROW = Row(
    "http",
    (
        Line(
            "http.verify",
            "/verify, one worker",
            "uvicorn with httptools, the same by hand",
            (Target(Statistic.RATIO, 2, at_least=True),),
        ),
    ),
    measure,
)
