"""One sidecar process beside its table: the product's use cases, over the seed's network."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from tests.simulation.authority import Authority, Redis
from tests.simulation.network import Host, Network
from tests.simulation.trust import Dice, Notary

from rescind.core.generations import HEADER_WORDS, Writer
from rescind.core.posture import Posture
from rescind.core.secret import Secret
from rescind.errors import UnreachableError
from rescind.wire import subjects
from rescind.wire.socket import Check, Look, Response
from rescind_sidecar.link.spoken import SpokenLink
from rescind_sidecar.link.transport import NotNowError
from rescind_sidecar.socket.server import Server
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


class TablesOnHost:
    """Where a host's table lies, from one process to the next (port Tables)."""

    def __init__(self, posture: Posture) -> None:
        self._posture = posture
        self._writer: Writer | None = None
        self.words: memoryview[int] | None = None

    def begin(self, instance: bytes) -> Writer:
        if self._writer is not None:
            self._writer.retire()
        self.words = memoryview(bytearray((HEADER_WORDS + SLOTS) * 8)).cast("Q")
        self._writer = Writer(
            self.words, instance=instance, boot=BOOT, slots=SLOTS, posture=self._posture
        )
        return self._writer

    def retire(self) -> None:
        if self._writer is not None:
            self._writer.retire()
        self.words = None


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
            for each in self._authorities():
                self._network.send(self._host, each.host, partial(each.hear, subject, payload))
        elif subject == subjects.HEARTBEAT:
            one = self._pick()
            self._network.send(
                self._host, one.host, lambda: one.ask(subject, payload, lambda _: None)
            )

    def _pick(self) -> Authority:
        alive = [each for each in self._authorities() if each.alive]
        if not alive:
            raise UnreachableError("no authority is there")
        return self._dice.choice(alive)


class Sidecar:
    """A process, from its start to its end."""

    def __init__(
        self,
        host: Host,
        *,
        network: Network,
        authorities: Callable[[], Sequence[Authority]],
        tables: TablesOnHost,
        redis: Redis,
        credential: str,
        posture: Posture,
        seed: str,
    ) -> None:
        self.host = host
        self.alive = False
        self.tally = tally = Tally()
        dice, notary, self._tables = Dice(seed), Notary(), tables
        link = SpokenLink(Wire(host, network, authorities, f"{seed} wire"))
        self.incarnations = incarnations = Incarnations(tables, dice, tally)
        self._watchers = Watchers()
        self._due = due = asyncio.Event()
        self._acknowledge = Acknowledge(incarnations, link, tally)
        self._offers = Offers(incarnations, link)
        self.follow = Follow(
            incarnations=incarnations,
            link=link,
            notary=notary,
            acknowledge=self._acknowledge,
            offers=self._offers,
            watchers=self._watchers,
            tally=tally,
            clock=host,
            beat_due=due,
        )
        enrol = Enrol(
            credential=Secret(credential),
            service="search",
            link=link,
            notary=notary,
            dice=dice,
            tally=tally,
        )
        self.renew = Renew(
            pushes=lambda: True,
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
        self._answer = Answer(
            incarnations,
            fetch,
            CatchUp(incarnations, self.follow, host),
            uses=Uses(incarnations, link, dice, tally),
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
                watchers=self._watchers,
                tasks=tasks,
                service="search",
                posture=str(self._posture),
                labels=(),
                boot=BOOT,
            )
            self.alive = True
            for part in (self.follow.repair, self._acknowledge.run, self._offers.run):
                tasks.create_task(part())
            tasks.create_task(self.renew.run())

    def poke(self) -> None:
        """Let it beat at once, as it does when it is connected again."""
        self._due.set()

    def crash(self, running: asyncio.Task[None]) -> None:
        """Be gone; the table stays as it was."""
        self.alive = False
        running.cancel()

    async def stop(self, running: asyncio.Task[None]) -> None:
        """Stop as `wiring.py` does: answer nothing, end the leases, release, end."""
        self.alive = False
        self._tables.retire()
        await self.renew.release()
        await asyncio.sleep(0.05)  # what is under way arrives while the process ends
        running.cancel()

    def at_once(self, request: Look | Check) -> Response | None:
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
