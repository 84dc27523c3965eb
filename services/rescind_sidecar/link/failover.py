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

_CONNECT_PATIENCE_S = 0.5
_PROBE_S = 1.0
_SEND_S = 4.0
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
        self._left_nats = asyncio.Event()
        self._on_connected: Callable[[], None] = _do_nothing
        self.route = AuthorityRoute.NATS

    @property
    def pushes(self) -> bool:
        """Return True if revocations are pushed, as far as is known; else heartbeats bring them."""
        return self.route is AuthorityRoute.NATS

    async def run(
        self, *, on_events: Handler, on_wanted: Handler, on_connected: Callable[[], None]
    ) -> None:
        """Run both transports until cancelled; call `on_connected` at each connection to NATS."""

        def connected() -> None:
            self._settled.set()
            on_connected()

        self._on_connected = on_connected
        asyncio.get_running_loop().call_later(_CONNECT_PATIENCE_S, self._settled.set)
        async with asyncio.TaskGroup() as tasks:
            if self._http is not None:
                tasks.create_task(self._http.run())
                tasks.create_task(self._return_to_nats())
            await self._nats.run(on_events=on_events, on_wanted=on_wanted, on_connected=connected)

    async def request(
        self, subject: str, payload: bytes, *, timeout_s: float, accept: Accept | None = None
    ) -> bytes:
        """Send a request, and return the answer."""
        return await self._send_over_either(
            lambda transport, share_s: transport.request(
                subject, payload, timeout_s=share_s, accept=accept
            ),
            timeout_s=timeout_s,
        )

    async def send(self, subject: str, payload: bytes) -> None:
        """Send a message that has no answer."""
        await self._send_over_either(
            lambda transport, _: transport.send(subject, payload), timeout_s=_SEND_S
        )

    async def _send_over_either(
        self, send: Callable[[Transport, float], Awaitable[_T]], *, timeout_s: float
    ) -> _T:
        if self._http is None:
            return await self._send_over(AuthorityRoute.NATS, send, timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                # At the start, NATS needs a moment to connect, and a whole fleet that starts should
                # not use HTTP for that reason: earlier messages wait, half a second at most.
                await self._settled.wait()
                first, second = self.route, _OTHER[self.route]
                if first is AuthorityRoute.HTTP and not self._nats.connected:
                    return await self._send_over(first, send, timeout_s)
                try:
                    return await self._send_over(first, send, _FIRST_SHARE * timeout_s)
                except AuthorityBusyError:
                    raise
                except UnreachableError as error:
                    answer = await self._send_over(second, send, timeout_s)
                    self._switch(second, why=str(error))
                    return answer
        except TimeoutError:
            raise UnreachableError("no authority answered in time, over NATS or HTTP") from None

    async def _send_over(
        self,
        route: AuthorityRoute,
        send: Callable[[Transport, float], Awaitable[_T]],
        share_s: float,
    ) -> _T:
        transport = self._http if route is AuthorityRoute.HTTP else self._nats
        if transport is None:
            raise UnreachableError("RESCIND_URL names no authority")
        answer = await send(transport, share_s)
        self._tally.carried[route] = self._tally.carried.get(route, 0) + 1
        return answer

    def _switch(self, route: AuthorityRoute, *, why: str) -> None:
        if route is self.route:
            return  # a concurrent message changed it first
        self.route = route
        self._tally.link_changes += 1
        if route is AuthorityRoute.NATS:
            _log.info(
                "the authority is asked over NATS", action="link.changed", link=route, why=why
            )
            self._on_connected()  # a heartbeat now brings the events that were not pushed
        else:
            _log.warning(
                "the authority is asked over HTTP; revocations come with the heartbeat",
                action="link.changed",
                link=route,
                why=why,
            )
            self._left_nats.set()

    async def _return_to_nats(self) -> None:
        """Return to NATS as soon as an authority answers there."""
        while True:
            await self._left_nats.wait()
            self._left_nats.clear()
            while self.route is AuthorityRoute.HTTP:
                await asyncio.sleep(self._probe_s)
                # After the answer "not now" HTTP stays in use, because NATS would not be better.
                with suppress(UnreachableError, TimeoutError):
                    async with asyncio.timeout(self._probe_s):
                        await self._probe(self._nats)
                    self._switch(AuthorityRoute.NATS, why="an authority answers there again")


def _do_nothing() -> None:
    return None
