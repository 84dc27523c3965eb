"""Failover between NATS and HTTP: NATS while it works, else HTTP until NATS is back (design 10).

NATS is abandoned when a message does not reach an authority over it: there is no connection, no
authority is subscribed, or no answer arrives in a third of the deadline. The rest of the deadline
is for HTTP. From then on, every message is sent over HTTP first. A probe each second detects when
NATS works again. An authority that answers "not now" over NATS was reached, so it is not asked a
second time: it is busy, or its Postgres is unavailable.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum
from typing import Protocol, TypeVar

import structlog

from rescind.errors import UnreachableError
from rescind_sidecar.link.transport import (
    Accept,
    AuthorityBusyError,
    Handler,
    PushingTransport,
    Transport,
)
from rescind_sidecar.stats.counters import Counters

_PATIENCE_S = 0.5
_PROBE_S = 1.0
_TELL_S = 4.0
# A look-up has half a second, and the workload that waits for it gives up after 250 ms.
_FIRST_SHARE = 0.3

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()

_T = TypeVar("_T")

Probe = Callable[[Transport], Awaitable[None]]
"""Send a request over a transport whose answer proves the whole route, up to Postgres.

Raises UnreachableError.
"""


class AuthorityRoute(StrEnum):
    """The transport over which the authority is reached."""

    NATS = "nats"
    HTTP = "http"


_OTHER = {AuthorityRoute.NATS: AuthorityRoute.HTTP, AuthorityRoute.HTTP: AuthorityRoute.NATS}


class PlainTransport(Transport, Protocol):
    """A transport without pushes; `run` keeps its connections."""

    async def run(self) -> None:
        """Work until cancelled."""
        ...


class FailoverTransport:
    """Send messages over the transport that works. `http` is None if no URL is configured."""

    def __init__(
        self,
        nats: PushingTransport,
        http: PlainTransport | None,
        tally: Counters,
        *,
        probe: Probe,
        probe_s: float = _PROBE_S,
    ) -> None:
        self._nats = nats
        self._http = http
        self._tally = tally
        self._probe = probe
        self._probe_s = probe_s
        self._settled = asyncio.Event()
        self._away = asyncio.Event()
        self._on_connected: Callable[[], None] = _nothing
        self.way = AuthorityRoute.NATS

    @property
    def pushes(self) -> bool:
        """True if revocations are pushed, as far as is known; else they come with heartbeats."""
        return self.way is AuthorityRoute.NATS

    async def run(
        self, *, on_events: Handler, on_wanted: Handler, on_connected: Callable[[], None]
    ) -> None:
        """Run both transports until cancelled; call `on_connected` at each connection to NATS."""

        def connected() -> None:
            self._settled.set()
            on_connected()

        self._on_connected = on_connected
        asyncio.get_running_loop().call_later(_PATIENCE_S, self._settled.set)
        async with asyncio.TaskGroup() as tasks:
            if self._http is not None:
                tasks.create_task(self._http.run())
                tasks.create_task(self._return())
            await self._nats.run(on_events=on_events, on_wanted=on_wanted, on_connected=connected)

    async def ask(
        self, subject: str, payload: bytes, *, timeout_s: float, accept: Accept | None = None
    ) -> bytes:
        """Send a message and return the answer."""
        return await self._over_either(
            lambda way, share_s: way.ask(subject, payload, timeout_s=share_s, accept=accept),
            timeout_s=timeout_s,
        )

    async def tell(self, subject: str, payload: bytes) -> None:
        """Send a message that has no answer."""
        await self._over_either(lambda way, _: way.tell(subject, payload), timeout_s=_TELL_S)

    async def _over_either(
        self, send: Callable[[Transport, float], Awaitable[_T]], *, timeout_s: float
    ) -> _T:
        if self._http is None:
            return await self._over(AuthorityRoute.NATS, send, timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                # At the start, NATS needs a moment to connect, and a whole fleet that starts should
                # not use HTTP for that reason: earlier messages wait, half a second at most.
                await self._settled.wait()
                first, second = self.way, _OTHER[self.way]
                if first is AuthorityRoute.HTTP and not self._nats.connected:
                    return await self._over(first, send, timeout_s)
                try:
                    return await self._over(first, send, _FIRST_SHARE * timeout_s)
                except AuthorityBusyError:
                    raise
                except UnreachableError as error:
                    answer = await self._over(second, send, timeout_s)
                    self._change(second, why=str(error))
                    return answer
        except TimeoutError:
            raise UnreachableError("no authority answered in time, over NATS or HTTP") from None

    async def _over(
        self,
        way: AuthorityRoute,
        send: Callable[[Transport, float], Awaitable[_T]],
        share_s: float,
    ) -> _T:
        transport = self._http if way is AuthorityRoute.HTTP else self._nats
        if transport is None:
            raise UnreachableError("RESCIND_URL names no authority")
        answer = await send(transport, share_s)
        self._tally.carried[way] = self._tally.carried.get(way, 0) + 1
        return answer

    def _change(self, way: AuthorityRoute, *, why: str) -> None:
        if way is self.way:
            return  # a concurrent message changed it first
        self.way = way
        self._tally.link_changes += 1
        if way is AuthorityRoute.NATS:
            _log.info("the authority is asked over NATS", action="link.changed", link=way, why=why)
            self._on_connected()  # a heartbeat now brings the events that were not pushed
        else:
            _log.warning(
                "the authority is asked over HTTP; revocations come with the heartbeat",
                action="link.changed",
                link=way,
                why=why,
            )
            self._away.set()

    async def _return(self) -> None:
        """Return to NATS as soon as an authority answers there."""
        while True:
            await self._away.wait()
            self._away.clear()
            while self.way is AuthorityRoute.HTTP:
                await asyncio.sleep(self._probe_s)
                # After the answer "not now" HTTP stays in use, because NATS would not be better.
                with suppress(UnreachableError, TimeoutError):
                    async with asyncio.timeout(self._probe_s):
                        await self._probe(self._nats)
                    self._change(AuthorityRoute.NATS, why="an authority answers there again")


def _nothing() -> None:
    return None
