"""A client of Redis that drops a cancellation, as redis-py does while a connection fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import pytest

from rescind_runtime.net import redis_connection


class DroppingRedis:
    """A client, and its pipeline, that drop a cancellation during one command.

    The command then fails, or continues as if it had not been cancelled.
    """

    def __init__(self, *, during: str, fails: bool) -> None:
        self._during = during
        self._fails = fails
        self.waiting = asyncio.Event()

    def replace_connections(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Return this client for every connection from now on."""

        @asynccontextmanager
        async def connection(_link: object) -> "AsyncIterator[DroppingRedis]":
            yield self

        monkeypatch.setattr(redis_connection, "connection", connection)

    async def ping(self) -> None:
        await self._asked("ping")

    async def mget(self, keys: list[str]) -> list[bytes | None]:
        await self._asked("mget")
        return [None] * len(keys)

    def pipeline(self, **_: object) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def set(self, *_: object, **__: object) -> None: ...

    async def execute(self) -> None:
        await self._asked("execute")

    async def _asked(self, command: str) -> None:
        if command != self._during:
            return
        self.waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self._fails:
                raise ConnectionError("the server hung up") from None
