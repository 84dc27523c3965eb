"""Row `proxy`: calls through nginx that ask the sidecar, against nginx alone, and with Redis."""

import asyncio
import contextlib
import shutil
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

from rescind_lab.bench.comparison import Line, Measurement, Row
from rescind_lab.bench.measurement import MeasureRound, measure_in_turns
from rescind_lab.bench.rows.http_load import HttpCall, Load
from rescind_lab.bench.rows.introspection import run_redis_baseline
from rescind_lab.bench.samples import Unit
from rescind_lab.bench.system import BenchSystem, find_free_ports
from rescind_lab.errors import LabError
from rescind_runtime.processes import child_process
from rescind_runtime.processes.child_process import Program

_START_S = 10.0
_POLL_S = 0.01

_CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 10000000;
    upstream service {{ server 127.0.0.1:{service}; keepalive 64; }}
    upstream sidecar {{ server {sidecar}; keepalive 64; }}
    upstream redis {{ server {redis}; keepalive 64; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    server {{
        listen 127.0.0.1:{service};
        location / {{ return 200 "ok"; }}
    }}
    server {{
        listen 127.0.0.1:{port};
        location = /alone {{ proxy_pass http://service; }}
        location = /sidecar {{ auth_request /ask-sidecar; proxy_pass http://service; }}
        location = /redis {{ auth_request /ask-redis; proxy_pass http://service; }}
        location = /ask-sidecar {{ internal; proxy_pass http://sidecar/verify; }}
        location = /ask-redis {{ internal; proxy_pass http://redis/verify; }}
    }}
}}
"""


async def measure(bench: BenchSystem) -> dict[str, Measurement]:
    """Load nginx in three ways, in turns. Without nginx, say so and measure nothing."""
    nginx = shutil.which("nginx")
    if nginx is None:
        sys.stderr.write("row proxy is left out: nginx is not installed\n")
        return {}
    (token,) = await bench.issue(1)
    load = Load(bench.system.directory, seconds=bench.choose(quick=1, full=2))
    async with (
        run_redis_baseline(bench, token) as (redis_url, _),
        _run_nginx(nginx, bench, redis_url) as url,
    ):
        bench.show_step("nginx under load")

        def measure_way(way: str) -> MeasureRound:
            call = HttpCall(f"{url}/{way}", f"Bearer {token}")
            return lambda: load.measure_per_s(call)

        ways = {way: measure_way(way) for way in ("alone", "sidecar", "redis")}
        timed = await measure_in_turns(ways, rounds=bench.choose(quick=1, full=5), unit=Unit.PER_S)
    return {
        "proxy.redis": Measurement(timed["sidecar"], timed["redis"], load.notes),
        "proxy.alone": Measurement(timed["sidecar"], timed["alone"], load.notes),
    }


@contextlib.asynccontextmanager
async def _run_nginx(nginx: str, bench: BenchSystem, redis_url: str) -> AsyncGenerator[str]:
    folder = bench.system.directory / "nginx"
    folder.mkdir()
    service, port = find_free_ports(2)
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            folder=folder,
            service=service,
            port=port,
            sidecar=bench.sidecar.http.removeprefix("http://"),
            redis=redis_url.removeprefix("http://"),
        ),
        encoding="utf-8",
    )
    program = Program(
        name="the bench's nginx",
        command=[nginx, "-c", str(configuration), "-p", str(folder)],
        directory=folder,
        log=bench.system.directory / "logs" / "bench-nginx.log",
        environment=bench.environ,
    )
    async with child_process.running(program):
        await _await_listener(port, program.log)
        yield f"http://127.0.0.1:{port}"


async def _await_listener(port: int, log: Path | None) -> None:
    """Wait until a port accepts connections. Raises LabError."""
    try:
        async with asyncio.timeout(_START_S):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    return
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise LabError(f"nginx did not start: see {log}") from None


ROW = Row(
    "proxy",
    (
        Line("proxy.redis", "a call through nginx and /verify", "nginx and a look-up in Redis"),
        Line("proxy.alone", "a call through nginx and /verify", "nginx alone"),
    ),
    measure,
)
