"""A process that checks tokens: the SDK's verifier, beside a sidecar of the simulation."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from unittest import mock

from tests.simulation.network import Host, now_s
from tests.simulation.sidecar import Sidecar

from rescind.client import clock
from rescind.client.mapped_table import MappedTable
from rescind.client.session import Session
from rescind.client.verifier import Verifier
from rescind.errors import TableError, UnreachableError
from rescind.wire.socket import Check, Look, Request, Response

_HOST: ContextVar[Host] = ContextVar("host")


def _boottime_ns() -> int:
    return _HOST.get().boottime_ns()


@contextmanager
def clocks() -> Generator[None]:
    """Let the SDK read the clock of the machine that its process is on."""
    with (
        mock.patch.object(clock, "boottime_ns", _boottime_ns),
        mock.patch.object(clock, "monotonic_s", now_s),
    ):
        yield


class Place:
    """A host as its workloads see it: which sidecar answers, and where its socket would lie."""

    def __init__(self, host: Host, socket: Path) -> None:
        self.host = host
        self.socket = socket
        self.sidecar: Sidecar | None = None


class SimulatedSession(Session):
    """A session whose socket is a call."""

    place: Place
    mapped: bool

    @classmethod
    def meet(cls, place: Place, *, mapped: bool) -> "SimulatedSession":
        """Meet whoever answers here. Raises UnreachableError."""
        sidecar = place.sidecar
        if sidecar is None or not sidecar.alive:
            raise UnreachableError("nobody listens")
        greeting = sidecar.server.greeting()
        try:
            table = MappedTable.open(place.socket.with_suffix(".table"))
        except TableError as error:
            raise UnreachableError("it has no table yet") from error
        if table.instance != greeting.instance:
            raise UnreachableError("its table is another instance's")
        session = cls(
            place.socket,
            greeting,
            table if mapped else None,
            timeout_s=0.25,
            most_entries=100,
        )
        session.place, session.mapped = place, mapped
        return session

    def reopened(self, *, ends_s: float, patient: bool) -> Session:
        return self.meet(self.place, mapped=self.mapped)

    async def aask(self, request: Request, *, ends_s: float) -> Response:
        host = self.place.host
        assert isinstance(request, Look | Check)
        try:
            async with asyncio.timeout(max(0.001, ends_s - now_s())):
                if host.paused_until_s > now_s():
                    await asyncio.sleep(host.paused_until_s - now_s())
                sidecar = self.place.sidecar
                if sidecar is None:
                    raise UnreachableError("nobody listens")
                response = sidecar.at_once(request)
                return response or await sidecar.asked(request)
        except TimeoutError:
            raise UnreachableError("no answer in time") from None


class SimulatedVerifier(Verifier):
    """A verifier that starts no thread to meet its sidecar anew."""

    async def _arenew(self, session: Session, ends_s: float) -> bool:
        await asyncio.sleep(0)
        return self._renew(session, ends_s)

    @property
    def instance(self) -> bytes:
        """The instance that its last answer came from."""
        return self._session.instance


def on(place: Place) -> None:
    """Be on this host, from here to the end of the task."""
    _HOST.set(place.host)


async def attached(place: Place, *, mapped: bool) -> SimulatedVerifier:
    """Attach as soon as there is a sidecar, from a process on its host."""
    on(place)
    while True:
        try:
            return SimulatedVerifier(SimulatedSession.meet(place, mapped=mapped), audience=None)
        except UnreachableError:
            await asyncio.sleep(0.05)
