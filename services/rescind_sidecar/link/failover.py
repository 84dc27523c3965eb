"""Two ways to the authority: NATS while it works, else HTTP, and back by itself (design 10).

NATS is given up for the moment when a message reaches nobody over it: there is no connection, no
authority listens behind it, or no answer came in a third of the deadline; the rest is HTTP's. An
authority that says "not now" over NATS was reached, so it is not asked a second time: it is busy,
or its Postgres is away. From then on all goes over HTTP first, and nobody pays for the silence of
NATS but a probe each second, until one is answered.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum
from typing import Protocol, TypeVar

import structlog

from rescind.errors import UnreachableError
from rescind.wire import records, subjects
from rescind_sidecar.link.transport import Handler, NotNowError, PushingTransport, Transport
from rescind_sidecar.usecases.tally import Tally

_PATIENCE_S = 0.5
_PROBE_S = 1.0
_TELL_S = 4.0
# Of half a second for a look-up: who waits for it in a workload gives up after 250 ms.
_FIRST_SHARE = 0.3
# A look-up of a token that cannot be: its answer proves the whole way, up to Postgres.
_NOBODY = records.encode_resolve(records.Resolve(bytes(32)))

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()

_T = TypeVar("_T")


class Way(StrEnum):
    """How the authority is reached."""

    NATS = "nats"
    HTTP = "http"


_OTHER = {Way.NATS: Way.HTTP, Way.HTTP: Way.NATS}


class PlainTransport(Transport, Protocol):
    """Carry messages one way; `run` keeps what that needs."""

    async def run(self) -> None:
        """Work until cancelled."""
        ...


class FailoverTransport:
    """Carry messages over whichever way works. `http` is None where no URL is configured."""

    def __init__(
        self,
        nats: PushingTransport,
        http: PlainTransport | None,
        tally: Tally,
        *,
        probe_s: float = _PROBE_S,
    ) -> None:
        self._nats = nats
        self._http = http
        self._tally = tally
        self._probe_s = probe_s
        self._settled = asyncio.Event()
        self._away = asyncio.Event()
        self._on_connected: Callable[[], None] = _nothing
        self.way = Way.NATS

    @property
    def pushes(self) -> bool:
        """Whether revocations are pushed, as far as is known; else they come with heartbeats."""
        return self.way is Way.NATS

    async def run(
        self, *, on_events: Handler, on_wanted: Handler, on_connected: Callable[[], None]
    ) -> None:
        """Keep both ways, until cancelled; `on_connected` is called when NATS comes, or is back."""

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

    async def ask(self, subject: str, payload: bytes, *, timeout_s: float) -> bytes:
        """Send a message and give the answer."""
        return await self._over_either(
            lambda way, share_s: way.ask(subject, payload, timeout_s=share_s), timeout_s=timeout_s
        )

    async def tell(self, subject: str, payload: bytes) -> None:
        """Send a message that nobody answers."""
        await self._over_either(lambda way, _: way.tell(subject, payload), timeout_s=_TELL_S)

    async def _over_either(
        self, send: Callable[[Transport, float], Awaitable[_T]], *, timeout_s: float
    ) -> _T:
        if self._http is None:
            return await self._over(Way.NATS, send, timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                # At the start NATS needs a moment, and a fleet that starts should not come over
                # HTTP for that: whoever asks before waits, half a second at most.
                await self._settled.wait()
                first, second = self.way, _OTHER[self.way]
                if first is Way.HTTP and not self._nats.connected:
                    return await self._over(first, send, timeout_s)
                try:
                    return await self._over(first, send, _FIRST_SHARE * timeout_s)
                except NotNowError:
                    raise
                except UnreachableError as error:
                    answer = await self._over(second, send, timeout_s)
                    self._change(second, why=str(error))
                    return answer
        except TimeoutError:
            raise UnreachableError("no authority answered in time, over NATS or HTTP") from None

    async def _over(
        self,
        way: Way,
        send: Callable[[Transport, float], Awaitable[_T]],
        share_s: float,
    ) -> _T:
        transport = self._http if way is Way.HTTP else self._nats
        if transport is None:
            raise UnreachableError("RESCIND_URL names no authority")
        answer = await send(transport, share_s)
        self._tally.carried[way] = self._tally.carried.get(way, 0) + 1
        return answer

    def _change(self, way: Way, *, why: str) -> None:
        if way is self.way:
            return  # somebody who asked at the same time found it out first
        self.way = way
        self._tally.link_changes += 1
        if way is Way.NATS:
            _log.info("the authority is asked over NATS", action="link.changed", link=way, why=why)
            self._on_connected()  # what was not pushed meanwhile comes with a heartbeat, now
        else:
            _log.warning(
                "the authority is asked over HTTP; revocations come with the heartbeat",
                action="link.changed",
                link=way,
                why=why,
            )
            self._away.set()

    async def _return(self) -> None:
        """Go back to NATS as soon as an authority answers there."""
        while True:
            await self._away.wait()
            self._away.clear()
            while self.way is Way.HTTP:
                await asyncio.sleep(self._probe_s)
                with suppress(UnreachableError):  # "not now" too: HTTP is no worse than that
                    await self._nats.ask(subjects.RESOLVE, _NOBODY, timeout_s=self._probe_s)
                    self._change(Way.NATS, why="an authority answers there again")


def _nothing() -> None:
    return None
