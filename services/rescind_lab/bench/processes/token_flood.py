"""A flood of forged tokens at one endpoint, at a fixed rate.

    python -m rescind_lab.bench.processes.token_flood URL PER_S

Each request has a token of its own, of a valid form and with the tag of a key that was made up: as
a bearer token for `/verify`, else as the secret of a client and in the form. The requests are
evenly spread over the connections. An answer is read and ignored.
"""

import asyncio
import base64
import secrets
import sys
from urllib.parse import urlsplit

from rescind.core import token_format
from rescind.core.token_format import Kind
from rescind_lab.bench.rows.http_load import HttpCall
from rescind_runtime import ready_line, supervise
from rescind_runtime.supervise import Stop

_CONNECTIONS = 16
_STEP_S = 0.002
_TOKENS = 4_096


def _forge() -> str:
    random, key = secrets.token_bytes(token_format.RANDOM_BYTES), secrets.token_bytes(32)
    return token_format.mint(kind=Kind.AGENT, random=random, edge_key=key).reveal()


def _build_request(url: str) -> bytes:
    token = _forge()
    if url.endswith("/verify"):
        return HttpCall(url, f"Bearer {token}").encode()
    basic = base64.b64encode(f"flood:{_forge()}".encode()).decode()
    return HttpCall(url, f"Basic {basic}", f"token={token}").encode()


async def _flood(requests: list[bytes], url: str, *, per_s: float, offset: int) -> None:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    loop = asyncio.get_running_loop()

    async def ignore_answers() -> None:
        while await reader.read(65_536):
            pass

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ignore_answers())
        began_s, sent = loop.time(), 0
        while True:
            due = int((loop.time() - began_s) * per_s)
            writer.write(b"".join(requests[(offset + each) % _TOKENS] for each in range(sent, due)))
            sent = due
            await writer.drain()
            await asyncio.sleep(_STEP_S)


async def _main(stop: Stop) -> None:
    url, per_s = sys.argv[1], float(sys.argv[2])
    requests = [_build_request(url) for _ in range(_TOKENS)]
    async with asyncio.TaskGroup() as tasks:
        floods = [
            tasks.create_task(
                _flood(
                    requests,
                    url,
                    per_s=per_s / _CONNECTIONS,
                    offset=place * (_TOKENS // _CONNECTIONS),
                )
            )
            for place in range(_CONNECTIONS)
        ]
        ready_line.announce()
        await stop.wait()
        for flood in floods:
            flood.cancel()


if __name__ == "__main__":
    supervise.run(_main, name="bench flood")
