"""A process of Node that uses the example's client as a test says, in lines of JSON."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.outcomes import LateError
from tests.support.processes import clean_environment

NODE = shutil.which("node") or "node"

_DEADLINE_S = 20.0
_SCRIPT = Path(__file__).with_name("node_driver.mjs")


class NodeDriver:
    """A client in Node. Requests and answers have a number, so that a hold may end at any time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._sent = 0
        self._read: dict[int, list[dict[str, Any]]] = {}

    @classmethod
    @asynccontextmanager
    async def running(
        cls, example: Path, socket: Path, *, timeout_ms: int = 2_000
    ) -> AsyncIterator["NodeDriver"]:
        """Run the driver; its client's checks have this deadline."""
        process = await asyncio.create_subprocess_exec(
            NODE,
            str(_SCRIPT),
            str(example / "rescind.mjs"),
            str(timeout_ms),
            env=clean_environment(RESCIND_SOCKET=str(socket)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            yield cls(process)
        finally:
            process.kill()
            await process.communicate()

    async def check(self, token: str | None, **options: Any) -> dict[str, Any]:
        """Check a token; return the answer."""
        return await self.answer(await self.send("check", token=token, options=options))

    async def reason(self, token: str | None, **options: Any) -> str | None:
        """Check a token; return the reason for its denial, or None."""
        reason: str | None = (await self.check(token, **options)).get("reason")
        return reason

    async def check_many(self, token: str, times: int) -> dict[str, int]:
        """Check a token many times at once; return how often there was each answer."""
        return await self.answer(await self.send("many", token=token, times=times))

    async def hold(self, token: str, **options: Any) -> tuple[int, dict[str, Any]]:
        """Hold a token; return the number of the hold, and the answer."""
        number = await self.send("hold", token=token, options=options)
        return number, await self.answer(number)

    async def ended(self, hold: int) -> str:
        """Wait until a hold has ended; return the reason."""
        reason: str = (await self.answer(hold))["reason"]
        return reason

    async def release(self, hold: int) -> None:
        """Release a hold."""
        await self.answer(await self.send("release", hold=hold))

    async def send(self, call: str, **arguments: Any) -> int:
        """Send a request; return its number."""
        self._sent += 1
        assert self._process.stdin is not None
        line = json.dumps({"number": self._sent, "call": call, **arguments}) + "\n"
        self._process.stdin.write(line.encode())
        await self._process.stdin.drain()
        return self._sent

    async def answer(self, number: int) -> dict[str, Any]:
        """Return the next answer to a request."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(_DEADLINE_S):
                while not self._read.get(number):
                    line = await self._process.stdout.readline()
                    assert line, "the driver has ended"
                    read = json.loads(line)
                    self._read.setdefault(read.pop("number"), []).append(read)
        except TimeoutError:
            raise LateError(f"no answer to {number}") from None
        return self._read[number].pop(0)

    def has_answer(self, number: int) -> bool:
        """Return True if another answer to a request was read already."""
        return bool(self._read.get(number))
