"""Row `grpc`: a Check of Envoy's ext_authz over gRPC, against `/verify`, in CPU of the worker.

Each side has one worker, and 16 calls at once with one token. Both loads are slower than the
workers. So the row compares the CPU time of the workers, which the loads do not affect.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from rescind.core.times import US_PER_S
from rescind_lab.bench.comparison import Line, Measurement, Row
from rescind_lab.bench.measurement import MeasureRound, measure_in_turns, read_cpu_s
from rescind_lab.bench.rows.http_load import HttpCall, read_accepted
from rescind_lab.bench.samples import Unit
from rescind_lab.bench.system import BenchSystem, find_free_ports
from rescind_lab.errors import LabError
from rescind_sidecar.grpc import ext_authz
from rescind_sidecar.grpc.protobuf import write

_AT_ONCE = 16
_METHOD = "/{}/{}".format(*ext_authz.METHOD)
_ALLOWED = bytes.fromhex("0a020800")  # status: OK
_WORKER = "rescind_sidecar.grpc"


async def measure(bench: BenchSystem) -> dict[str, Measurement]:
    """Load both workers in turns. Without grpcio, say so and measure nothing."""
    if find_spec("grpc") is None:
        sys.stderr.write("row grpc is left out: pip install 'rescind[grpc]' brings grpcio\n")
        return {}
    (token,) = await bench.issue(1)
    address = f"127.0.0.1:{find_free_ports(1)[0]}"
    bench.show_step("Check over gRPC and /verify under load")
    async with bench.run_process(_WORKER, address, RESCIND_SOCKET=bench.sidecar.socket) as (_, own):
        http_pid = _find_http_worker(bench.sidecar.pid)
        calls = bench.choose(quick=500, full=4_000)

        async def measure_grpc() -> float:
            return await _measure_grpc(address, token, pid=_to_pid(own), calls=calls)

        async def measure_http() -> float:
            return await _measure_http(bench.sidecar.http, token, pid=http_pid, calls=8 * calls)

        sides: dict[str, MeasureRound] = {"ours": measure_grpc, "theirs": measure_http}
        timed = await measure_in_turns(sides, rounds=bench.choose(quick=1, full=5), unit=Unit.US)
    note = f"CPU of the worker, {_AT_ONCE} calls at once"
    return {"grpc.check": Measurement(timed["ours"], timed["theirs"], note)}


async def _measure_grpc(address: str, token: str, *, pid: int, calls: int) -> float:
    import grpc.aio  # noqa: PLC0415 - the bench runs without it, except this row

    message = _encode_request(token)
    async with grpc.aio.insecure_channel(address) as channel:
        check: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_METHOD)

        async def call_repeatedly(number: int) -> None:
            for _ in range(number):
                if not (await check(message)).startswith(_ALLOWED):
                    raise LabError("the measurement is invalid: a Check was denied")

        return await _measure_cpu_us(call_repeatedly, pid=pid, calls=calls)


async def _measure_http(url: str, token: str, *, pid: int, calls: int) -> float:
    place, request = urlsplit(url), HttpCall(f"{url}/verify", f"Bearer {token}").encode()

    async def call_repeatedly(number: int) -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        for _ in range(number):
            writer.write(request)
            await read_accepted(reader)
        writer.close()

    return await _measure_cpu_us(call_repeatedly, pid=pid, calls=calls)


async def _measure_cpu_us(
    call_repeatedly: Callable[[int], Awaitable[None]], *, pid: int, calls: int
) -> float:
    """Return the CPU time that a process spends on a call, in microseconds."""
    await call_repeatedly(1)  # the first check of a token asks the sidecar
    began_s = read_cpu_s(pid)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(_AT_ONCE):
            tasks.create_task(_await(call_repeatedly(calls // _AT_ONCE)))
    return (read_cpu_s(pid) - began_s) / (calls // _AT_ONCE * _AT_ONCE) * US_PER_S


async def _await(calls: Awaitable[None]) -> None:
    await calls


def _encode_request(token: str) -> bytes:
    """Return a CheckRequest with the headers of a small request, as Envoy sends it."""
    headers = {
        ":authority": "search.internal",
        ":path": "/v1/items?page=2",
        ":method": "GET",
        ":scheme": "http",
        "authorization": f"Bearer {token}",
        "user-agent": "bench",
        "accept": "*/*",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "http",
        "x-request-id": "d717ab91-36f2-4a9d-9a72-01ce4a22e71f",
    }
    raw = b"".join(
        write(1, write(1, name.encode()) + write(3, text.encode()))
        for name, text in headers.items()
    )
    address = write(1, write(1, write(2, b"127.0.0.1") + write(3, 40_000)))
    return write(1, write(1, address) + write(4, write(2, write(13, raw))))


def _find_http_worker(sidecar: int) -> int:
    """Return the pid of a sidecar's HTTP worker. Raises LabError."""
    children = Path(f"/proc/{sidecar}/task/{sidecar}/children").read_text(encoding="ascii").split()
    for pid in map(int, children):
        if b"rescind_sidecar.http" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return pid
    raise LabError("the sidecar has no HTTP worker")


def _to_pid(facts: dict[str, object]) -> int:
    match facts:
        case {"pid": int(pid)}:
            return pid
        case _:
            raise LabError("the gRPC worker did not announce its pid")


ROW = Row(
    "grpc",
    (Line("grpc.check", "a Check over gRPC, CPU of the worker", "/verify over HTTP"),),
    measure,
)
