"""A process that checks tokens: the SDK's verifier, beside a sidecar of the simulation."""

import asyncio
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from pathlib import Path
from unittest import mock

from tests.simulation.network import Host, now_s
from tests.simulation.sidecar import Sidecar

from rescind.client import clock
from rescind.client.holds import monitor
from rescind.client.holds.hold import Hold
from rescind.client.holds.registry import HoldRegistry
from rescind.client.sidecar_connection import SidecarConnection
from rescind.client.table_reader import MappedTable
from rescind.client.transport import NoAnswerError
from rescind.client.verifier import Verifier
from rescind.errors import TableError, UnreachableError
from rescind.wire.socket_protocol import Check, Clock, Look, Request, Response

_HOST: ContextVar[Host] = ContextVar("host")
_PLACE: ContextVar["Place"] = ContextVar("place")


def _boottime_ns() -> int:
    return _HOST.get().boottime_ns()


@contextmanager
def clocks() -> Generator[None]:
    """Replace the clocks and the notifications of the SDK for the block."""
    with (
        mock.patch.object(clock, "boottime_ns", _boottime_ns),
        mock.patch.object(clock, "monotonic_s", now_s),
        mock.patch.object(monitor, "ChangeSubscription", SimulatedSubscription),
        mock.patch.object(HoldRegistry, "add", _add),
    ):
        yield


def _add(self: HoldRegistry, hold: Hold) -> None:
    """Register a hold as `HoldRegistry.add` does, with a task of this loop in place of a thread."""
    if self._thread is None:
        self._thread = threading.current_thread()
        self.next_check_ns = 0
        looking = asyncio.get_running_loop().create_task(self._run_monitor())
        looking.add_done_callback(lambda _: setattr(self, "_thread", None))
    self._registered.add(hold)


class Place:
    """A host of workloads: its current sidecar, and the path of the sidecar's socket."""

    def __init__(self, host: Host, socket: Path) -> None:
        self.host = host
        self.socket = socket
        self.sidecar: Sidecar | None = None
        self.listeners = count()


class SimulatedSubscription:
    """A substitute for `ChangeSubscription`, which the simulated sidecar calls after a change."""

    def __init__(self, _: Callable[[], Path], on_change: Callable[[], None]) -> None:
        self.open = False
        self._on_change = on_change
        self._place = _PLACE.get()
        self._number = next(self._place.listeners)

    def __hash__(self) -> int:
        """Return the same number in each run, for the order in the sidecar's set of listeners."""
        return self._number

    async def listen(self) -> None:
        while True:
            sidecar = self._place.sidecar
            if sidecar is not None and sidecar.alive:
                sidecar.watchers.add(self)
                self()
                await sidecar.gone.wait()
                sidecar.watchers.discard(self)
                self.open = False
                self._on_change()
            await asyncio.sleep(0.02)

    def __call__(self) -> None:
        """Notify of a change, once the machine is not paused."""
        pause_s = max(0.0, self._place.host.paused_until_s - now_s())
        asyncio.get_running_loop().call_later(pause_s, self._on_changed)

    def _on_changed(self) -> None:
        self.open = True
        self._on_change()


class SimulatedConnection(SidecarConnection):
    """A connection that calls the simulated sidecar in place of its socket."""

    place: Place
    mapped: bool

    @classmethod
    def connect(cls, place: Place, *, mapped: bool) -> "SimulatedConnection":
        """Connect to the sidecar of this host. Raises UnreachableError."""
        sidecar = place.sidecar
        if sidecar is None or not sidecar.alive:
            raise UnreachableError("no sidecar listens")
        greeting = sidecar.server.greeting()
        try:
            table = MappedTable.open(place.socket.with_suffix(".table"))
        except TableError as error:
            raise UnreachableError("it has no table yet") from error
        if table.instance != greeting.instance:
            raise UnreachableError("its table is another instance's")
        connection = cls(
            place.socket,
            greeting,
            table if mapped else None,
            timeout_s=0.25,
            most_entries=100,
        )
        connection.place, connection.mapped = place, mapped
        return connection

    def reconnect(self, *, deadline_s: float, wait: bool) -> SidecarConnection:
        return self.connect(self.place, mapped=self.mapped)

    async def asend(self, request: Request, *, deadline_s: float) -> Response:
        host = self.place.host
        assert isinstance(request, Clock | Look | Check)
        try:
            async with asyncio.timeout(max(0.001, deadline_s - now_s())):
                if host.paused_until_s > now_s():
                    await asyncio.sleep(host.paused_until_s - now_s())
                sidecar = self.place.sidecar
                if sidecar is None:
                    refused = UnreachableError("no sidecar listens")
                    self._note_hang_up(refused)
                    raise refused
                response = sidecar.at_once(request)
                if response is None and not isinstance(request, Clock):
                    response = await sidecar.asked(request)
                assert response is not None
                return response
        except TimeoutError:
            raise NoAnswerError("no answer in time") from None


class SimulatedVerifier(Verifier):
    """A verifier that reconnects without a thread."""

    async def _areconnect(self, connection: SidecarConnection, deadline_s: float) -> bool:
        await asyncio.sleep(0)
        return self._reconnect(connection, deadline_s)

    @property
    def instance(self) -> bytes:
        """The instance that its last answer came from."""
        return self._connection.instance


def on(place: Place) -> None:
    """Use the clocks of a host, from here to the end of the task."""
    _HOST.set(place.host)
    _PLACE.set(place)


async def attached(place: Place, *, mapped: bool) -> SimulatedVerifier:
    """Attach to the sidecar of a host as soon as it runs."""
    on(place)
    while True:
        try:
            return SimulatedVerifier(
                SimulatedConnection.connect(place, mapped=mapped), audience=None
            )
        except UnreachableError:
            await asyncio.sleep(0.05)
