"""One sidecar process beside its table: the product's use cases, over the seed's network.

The table is the product's own file, on a real directory, and a stop takes the product's own order.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from tests.simulation import forgeries
from tests.simulation.authority import Authority, Redis
from tests.simulation.network import Host, Network
from tests.simulation.trust import RandomSource, TrustStore

from rescind.core.posture import STRICT, Posture
from rescind.core.secret import Secret
from rescind.errors import UnreachableError
from rescind.wire import nats_subjects
from rescind.wire.socket_protocol import Check, Clock, Look, Response
from rescind_sidecar.link.authority_client import AuthorityClient
from rescind_sidecar.link.failover import FailoverTransport
from rescind_sidecar.link.probe import Probe
from rescind_sidecar.link.transport import Accept, AuthorityBusyError, Handler
from rescind_sidecar.socket.server import SocketServer
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.table_file import TableFile
from rescind_sidecar.usecases import shutdown
from rescind_sidecar.usecases.instance import SidecarInstances
from rescind_sidecar.usecases.lease.enrol import Enrol
from rescind_sidecar.usecases.lease.renew import Identity, Renew
from rescind_sidecar.usecases.ledger.acknowledge import Acknowledger
from rescind_sidecar.usecases.ledger.catch_up import CatchUp
from rescind_sidecar.usecases.ledger.change_notifier import ChangeNotifier
from rescind_sidecar.usecases.ledger.follow import LedgerFollower
from rescind_sidecar.usecases.ledger.recovery_offers import RecoveryOffers
from rescind_sidecar.usecases.lookup.answer import TokenLookup
from rescind_sidecar.usecases.lookup.fetch import Fetch
from rescind_sidecar.usecases.lookup.lookup_budgets import LookupBudgets, LookupLimits, LookupSource
from rescind_sidecar.usecases.lookup.usage_reports import UsageReports

SLOTS = 256
BOOT = bytes(16)
HEARTBEAT_S = 0.75
PEER = LookupSource(user=1, process=1)


class SimulatedTransport:
    """A transport to a random authority (port Transport)."""

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
        self._random = Random(seed)
        self._last_answers: dict[str, bytes] = {}

    async def request(
        self, subject: str, payload: bytes, *, timeout_s: float, accept: Accept | None = None
    ) -> bytes:
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        authority = self._pick()

        def settle(answer: bytes) -> None:
            if answered.done():
                return
            try:
                if accept is None or accept(answer):
                    answered.set_result(answer)
            except AuthorityBusyError as error:
                answered.set_exception(error)

        def answer(payload: bytes) -> None:
            self._network.send(authority.host, self._host, partial(settle, payload))

        self._network.send(
            self._host, authority.host, lambda: authority.ask(subject, payload, answer)
        )
        for forged in self._forged(subject):
            settle(forged)
        try:
            async with asyncio.timeout(timeout_s):
                answer_bytes = await answered
        except TimeoutError:
            raise UnreachableError("no answer in time") from None
        if not answer_bytes:
            raise AuthorityBusyError(subject)
        self._last_answers[subject] = answer_bytes
        return answer_bytes

    def _forged(self, subject: str) -> Sequence[bytes]:
        """Return what an attacker answers before the authority does: nothing, over HTTP."""
        return ()

    async def send(self, subject: str, payload: bytes) -> None:
        if subject == nats_subjects.ACK:
            for each in self._receivers():
                self._network.send(self._host, each.host, partial(each.receive, subject, payload))
        elif subject == nats_subjects.HEARTBEAT:
            one = self._pick()
            self._network.send(
                self._host, one.host, lambda: one.ask(subject, payload, lambda _: None)
            )

    async def run(self) -> None:
        await asyncio.Event().wait()

    def _receivers(self) -> Sequence[Authority]:
        """Return the authorities that receive a message without an answer: over HTTP, one."""
        return [self._pick()]

    def _pick(self) -> Authority:
        alive = [each for each in self._authorities() if each.alive]
        if not alive:
            raise UnreachableError("no authority is there")
        return self._random.choice(alive)


class SimulatedNatsTransport(SimulatedTransport):
    """A transport over NATS, which may be disconnected or silent (port PushingTransport)."""

    @property
    def connected(self) -> bool:
        return self._host.nats != "gone"

    def _receivers(self) -> Sequence[Authority]:
        return self._authorities()

    def _forged(self, subject: str) -> Sequence[bytes]:
        return (
            forgeries.answers(self._last_answers.get(subject))
            if subject == nats_subjects.RESOLVE
            else ()
        )

    async def run(
        self,
        *,
        on_events: Handler | None = None,
        on_wanted: Handler | None = None,
        on_connected: Callable[[], None] = lambda: None,
    ) -> None:
        on_connected()
        await super().run()

    async def request(
        self, subject: str, payload: bytes, *, timeout_s: float, accept: Accept | None = None
    ) -> bytes:
        match self._host.nats:
            case "works":
                return await super().request(subject, payload, timeout_s=timeout_s, accept=accept)
            case "silent":
                await asyncio.sleep(timeout_s)
            case "gone":
                pass
        raise UnreachableError("NATS is away")

    async def send(self, subject: str, payload: bytes) -> None:
        match self._host.nats:
            case "works":
                with suppress(UnreachableError):  # NATS takes it, although no authority is there
                    await super().send(subject, payload)
            case "gone":
                raise UnreachableError("NATS is away")
            case "silent":
                pass


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
        self.tally = tally = Counters()
        random_source, nonces, trust_store = (
            RandomSource(seed),
            RandomSource(f"{seed} nonces"),
            TrustStore(),
        )
        self._tables = TableFile(socket, boot=BOOT, posture=posture, slots=SLOTS)
        self._lock = ExitStack()
        self._lock.enter_context(self._tables.locked())
        self._serving = AsyncExitStack()
        self.instances = instances = SidecarInstances(self._tables, random_source, tally)
        self.transport = FailoverTransport(
            SimulatedNatsTransport(host, network, authorities, f"{seed} wire"),
            SimulatedTransport(host, network, authorities, f"{seed} http"),
            tally,
            probe=Probe(instances, nonces, tally),
        )
        link = AuthorityClient(self.transport, tally)
        self.watchers = ChangeNotifier()
        self.gone = asyncio.Event()
        self._due = due = asyncio.Event()
        self._acknowledge = Acknowledger(instances, link, tally)
        self._offers = RecoveryOffers(instances, link)
        self.follow = LedgerFollower(
            instances=instances,
            link=link,
            trust_store=trust_store,
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
            trust_store=trust_store,
            random_source=random_source,
            tally=tally,
        )
        self.renew = Renew(
            pushes=lambda: self.transport.pushes,
            identity=Identity("search", host.name, "0", str(posture)),
            instances=instances,
            enrol=enrol,
            follow=self.follow,
            offers=self._offers,
            link=link,
            trust_store=trust_store,
            clock=host,
            random_source=random_source,
            tally=tally,
            due=due,
            interval_s=HEARTBEAT_S,
        )
        fetch = Fetch(
            instances,
            link,
            trust_store,
            host,
            tally,
            random_source=nonces,
            budgets=LookupBudgets(LookupLimits.of(10_000)),
            shared=redis,
        )
        self._uses = UsageReports(instances, link, host, random_source, tally)
        self._answer = TokenLookup(
            instances,
            fetch,
            CatchUp(instances, self.follow, host),
            uses=self._uses,
            clock=host,
            tally=tally,
            prefix="rsc",
        )
        self._posture = posture

    async def run(self) -> None:
        """Run all parts of the sidecar until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self.server = SocketServer(
                lookup=self._answer,
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
                    on_events=self.follow.receive_push,
                    on_wanted=self.follow.receive_ack_request,
                    on_connected=self._due.set,
                )
            )

    def trigger_heartbeat(self) -> None:
        """Send a heartbeat at once, as after a reconnection."""
        self._due.set()

    def crash(self, running: asyncio.Task[None]) -> None:
        """End the process, and leave its table unchanged."""
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
        """Answer a workload from memory, as the socket does; None if a look-up is needed."""
        if not self.alive:
            raise UnreachableError("no sidecar listens")
        return self.server.answer_from_memory(request)

    async def asked(self, request: Look | Check) -> Response:
        """Answer a workload after a look-up."""
        found = await self._answer.look_up(request.token, source=PEER, min_seq=request.min_seq)
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
