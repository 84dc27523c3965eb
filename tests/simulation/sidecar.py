"""One sidecar process beside its table: the product's use cases, over the seed's network.

The table is the product's own file, on a real directory, and a stop takes the product's own order.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from tests.simulation.authority import Authority, Redis
from tests.simulation.network import Host, Network
from tests.simulation.trust import Dice, Notary

from rescind.core.posture import STRICT, Posture
from rescind.core.secret import Secret
from rescind.errors import UnreachableError
from rescind.wire import subjects
from rescind.wire.socket import Check, Clock, Look, Response
from rescind_sidecar.link.failover import FailoverTransport
from rescind_sidecar.link.spoken import SpokenLink
from rescind_sidecar.link.transport import Handler, NotNowError
from rescind_sidecar.socket.server import Server
from rescind_sidecar.table_file import TableFile
from rescind_sidecar.usecases import shutdown
from rescind_sidecar.usecases.acknowledge import Acknowledge
from rescind_sidecar.usecases.answer import Answer
from rescind_sidecar.usecases.budget import Allowance, Budget, Source
from rescind_sidecar.usecases.catch_up import CatchUp
from rescind_sidecar.usecases.enrol import Enrol
from rescind_sidecar.usecases.fetch import Fetch
from rescind_sidecar.usecases.follow import Follow
from rescind_sidecar.usecases.incarnations import Incarnations
from rescind_sidecar.usecases.offer import Offers
from rescind_sidecar.usecases.renew import Identity, Renew
from rescind_sidecar.usecases.tally import Tally
from rescind_sidecar.usecases.used import Uses
from rescind_sidecar.usecases.watchers import Watchers

SLOTS = 256
BOOT = bytes(16)
HEARTBEAT_S = 0.75
SOMEBODY = Source(user=1, process=1)


class Wire:
    """The way to whichever authority there is (a Transport)."""

    def __init__(
        self,
        host: Host,
        network: Network,
        authorities: Callable[[], Sequence[Authority]],
        seed: str,
    ) -> None:
        self._host = host
        self._network = network
        self._authorities = authorities
        self._dice = Random(seed)

    async def ask(self, subject: str, payload: bytes, *, timeout_s: float) -> bytes:
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        authority = self._pick()

        def settle(answer: bytes) -> None:
            if not answered.done():
                answered.set_result(answer)

        def answer(payload: bytes) -> None:
            self._network.send(authority.host, self._host, partial(settle, payload))

        self._network.send(
            self._host, authority.host, lambda: authority.ask(subject, payload, answer)
        )
        try:
            async with asyncio.timeout(timeout_s):
                answer_bytes = await answered
        except TimeoutError:
            raise UnreachableError("no answer in time") from None
        if not answer_bytes:
            raise NotNowError(subject)
        return answer_bytes

    async def tell(self, subject: str, payload: bytes) -> None:
        if subject == subjects.ACK:
            for each in self._hearers():
                self._network.send(self._host, each.host, partial(each.hear, subject, payload))
        elif subject == subjects.HEARTBEAT:
            one = self._pick()
            self._network.send(
                self._host, one.host, lambda: one.ask(subject, payload, lambda _: None)
            )

    async def run(self) -> None:
        await asyncio.Event().wait()

    def _hearers(self) -> Sequence[Authority]:
        """Name the authorities that hear what is not answered: over HTTP, the one that is asked."""
        return [self._pick()]

    def _pick(self) -> Authority:
        alive = [each for each in self._authorities() if each.alive]
        if not alive:
            raise UnreachableError("no authority is there")
        return self._dice.choice(alive)


class NatsWire(Wire):
    """The same over NATS, which may be gone, or silent (a PushingTransport)."""

    @property
    def connected(self) -> bool:
        return self._host.nats != "gone"

    def _hearers(self) -> Sequence[Authority]:
        return self._authorities()

    async def run(
        self,
        *,
        on_events: Handler | None = None,
        on_wanted: Handler | None = None,
        on_connected: Callable[[], None] = lambda: None,
    ) -> None:
        on_connected()
        await super().run()

    async def ask(self, subject: str, payload: bytes, *, timeout_s: float) -> bytes:
        match self._host.nats:
            case "works":
                return await super().ask(subject, payload, timeout_s=timeout_s)
            case "silent":
                await asyncio.sleep(timeout_s)
        raise UnreachableError("NATS is away")

    async def tell(self, subject: str, payload: bytes) -> None:
        match self._host.nats:
            case "works":
                await super().tell(subject, payload)
            case "gone":
                raise UnreachableError("NATS is away")


class Sidecar:
    """A process, from its start to its end."""

    def __init__(
        self,
        host: Host,
        *,
        network: Network,
        authorities: Callable[[], Sequence[Authority]],
        socket: Path,
        redis: Redis,
        credential: str,
        posture: Posture,
        seed: str,
    ) -> None:
        self.host = host
        self.alive = False
        self.tally = tally = Tally()
        dice, notary = Dice(seed), Notary()
        self._tables = TableFile(socket, boot=BOOT, posture=posture, slots=SLOTS)
        self._lock = ExitStack()
        self._lock.enter_context(self._tables.locked())
        self._serving = AsyncExitStack()
        self.transport = FailoverTransport(
            NatsWire(host, network, authorities, f"{seed} wire"),
            Wire(host, network, authorities, f"{seed} http"),
            tally,
        )
        link = SpokenLink(self.transport)
        self.incarnations = incarnations = Incarnations(self._tables, dice, tally)
        self.watchers = Watchers()
        self.gone = asyncio.Event()
        self._due = due = asyncio.Event()
        self._acknowledge = Acknowledge(incarnations, link, tally)
        self._offers = Offers(incarnations, link)
        self.follow = Follow(
            incarnations=incarnations,
            link=link,
            notary=notary,
            acknowledge=self._acknowledge,
            offers=self._offers,
            watchers=self.watchers,
            tally=tally,
            clock=host,
            beat_due=due,
        )
        enrol = Enrol(
            credential=Secret(credential),
            service="search",
            posture=str(posture),
            link=link,
            notary=notary,
            dice=dice,
            tally=tally,
        )
        self.renew = Renew(
            pushes=lambda: self.transport.pushes,
            identity=Identity("search", host.name, "0", str(posture)),
            incarnations=incarnations,
            enrol=enrol,
            follow=self.follow,
            offers=self._offers,
            link=link,
            clock=host,
            dice=dice,
            tally=tally,
            due=due,
            interval_s=HEARTBEAT_S,
        )
        fetch = Fetch(
            incarnations,
            link,
            notary,
            host,
            tally,
            budget=Budget(Allowance.of(10_000)),
            shared=redis,
        )
        self._uses = Uses(incarnations, link, dice, tally)
        self._answer = Answer(
            incarnations,
            fetch,
            CatchUp(incarnations, self.follow, host),
            uses=self._uses,
            clock=host,
            tally=tally,
            prefix="rsc",
        )
        self._posture = posture

    async def run(self) -> None:
        """Live until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self.server = Server(
                answer=self._answer,
                clock=self.host,
                tally=self.tally,
                watchers=self.watchers,
                tasks=tasks,
                service="search",
                posture=str(self._posture),
                labels=(),
                boot=BOOT,
            )
            self.alive = True
            self._serving.callback(self._stop_answering)
            for part in (self.follow.repair, self._acknowledge.run, self._offers.run):
                tasks.create_task(part())
            tasks.create_task(self.renew.run())
            tasks.create_task(
                self.transport.run(
                    on_events=self.follow.pushed,
                    on_wanted=self.follow.wanted,
                    on_connected=self._due.set,
                )
            )

    def poke(self) -> None:
        """Let it beat at once, as it does when it is connected again."""
        self._due.set()

    def crash(self, running: asyncio.Task[None]) -> None:
        """Be gone; the table stays as it was."""
        self.alive = False
        self.gone.set()
        running.cancel()
        self._lock.close()  # as the kernel does when a process ends

    async def stop(self, running: asyncio.Task[None]) -> None:
        """Stop in the product's order, and end."""
        await shutdown.shut_down(
            self._serving, tables=self._tables, renew=self.renew, uses=self._uses
        )
        await asyncio.sleep(0.05)  # what is under way arrives while the process ends
        running.cancel()
        self._lock.close()

    def _stop_answering(self) -> None:
        self.alive = False
        self.gone.set()
        self.server.stop()

    def at_once(self, request: Clock | Look | Check) -> Response | None:
        """Answer a workload from memory, as the socket would; None if somebody has to be asked."""
        if not self.alive:
            raise UnreachableError("nobody listens")
        return self.server.at_once(request)

    async def asked(self, request: Look | Check) -> Response:
        """Answer a workload, asking elsewhere."""
        found = await self._answer.look(request.token, source=SOMEBODY, min_seq=request.min_seq)
        if not self.alive:
            raise UnreachableError("hung up")
        return self.server.respond(request, found)


def alone(folder: Path) -> Sidecar:
    """Return a sidecar without an authority, Redis or a link, for a test that gives it one."""
    nothing: Any = None
    return Sidecar(
        Host("here"),
        network=Network(1),
        authorities=lambda: (),
        socket=folder / "s.sock",
        redis=nothing,
        credential="",
        posture=STRICT,
        seed="1",
    )
