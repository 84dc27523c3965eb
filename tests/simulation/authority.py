"""One authority process: the product's use cases, over Postgres in memory."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from random import Random
from typing import Any, TypeVar

from tests.simulation.network import Host, now_s
from tests.simulation.trust import EdgeKeys, Keys, RandomSource
from tests.support.postgres_in_memory import (
    Cluster,
    EnrolmentsInMemory,
    PostgresInMemory,
    TermsInMemory,
)

from rescind.core.record import Record
from rescind.errors import MalformedMessageError, RescindError, UnreachableError
from rescind.wire import events, heartbeat, nats_subjects, signed_envelope
from rescind.wire.events import Batch
from rescind.wire.heartbeat import AckRequest
from rescind.wire.trust_statement import Purpose
from rescind_authority.errors import LookupUnavailableError, StoreUnavailableError
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.usecases.enforcement.acknowledgements import Acknowledgements
from rescind_authority.usecases.enforcement.enforcer import Enforcer
from rescind_authority.usecases.leases.enrol import Enroller
from rescind_authority.usecases.leases.grant import Granter
from rescind_authority.usecases.leases.instance_auth import Instances
from rescind_authority.usecases.leases.lease_term import LeaseTermScheduler
from rescind_authority.usecases.leases.membership import Membership
from rescind_authority.usecases.ledger.publisher import Publisher
from rescind_authority.usecases.ledger.recent_events import RecentEvents
from rescind_authority.usecases.ledger.recovery import Recovery
from rescind_authority.usecases.ledger.sequencer import Sequencer
from rescind_authority.usecases.lookups.resolver import Resolver
from rescind_authority.usecases.revocations.scheduled_lifts import LiftScheduler
from rescind_authority.usecases.sidecar_api import EMPTY, SidecarApi
from rescind_authority.usecases.tokens.end_timer import EndTimer
from rescind_authority.usecases.tokens.last_used import Usage

T = TypeVar("T")

_SLOW_TRIPS = 0.4
_AWAY = 0.5
_OLD = 0.4
METRICS = PrometheusMetrics()
"""One object for all authorities: creating one takes longer than a simulation."""


NO_TOKENS: Any = None
"""A substitute for the port Tokens, which the simulation does not call."""


class Redis:
    """The records that sidecars read and must not trust (port SharedRecords, both sides)."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, bytes], bytes] = {}

    def keep(self, record: Record, encoded: bytes, *, now_us: int) -> None:
        if record.expires_at_us > now_us:
            self._kept.setdefault(
                (record.epoch, record.token_hash), encoded
            )  # the oldest: the worst

    async def find(self, epoch: int, token_hash: bytes) -> bytes | None:
        return self._kept.get((epoch, token_hash))


class Authority:
    """A process, from its start to its crash."""

    def __init__(
        self,
        host: Host,
        cluster: Cluster,
        *,
        redis: Redis,
        publish: Callable[[str, bytes], None],
        seed: str,
    ) -> None:
        self.host = host
        self.alive = False
        self.postgres_away = False
        self._random = Random(seed)
        self._publish = publish
        self._under_way: dict[asyncio.Future[Any], None] = {}  # in order: a run is repeated
        keys, random_source = Keys(), RandomSource(f"{seed} dice")
        stale = partial(_leads_to_the_old, Random(f"{seed} stale"))
        self.postgres = postgres = PostgresInMemory(cluster, self._trip, stale=stale)
        self.recent = recent = RecentEvents(postgres, clock=host)
        self.sequencer = Sequencer(
            postgres,
            publisher=Publisher(announcer=self, recent=recent),
            clock=host,
            metrics=METRICS,
        )
        self._acknowledgements = Acknowledgements(host)
        self.enforcer = Enforcer(
            postgres, acknowledgements=self._acknowledgements, keys=keys, caller=self, clock=host
        )
        timed: Any = postgres  # of the port Revocations it reads what stands for a time
        self._until = LiftScheduler(
            timed, sequencer=self.sequencer, clock=host, entropy=random_source
        )
        self.term = LeaseTermScheduler(TermsInMemory(cluster, self._trip, stale=stale), clock=host)
        self.ends = EndTimer(postgres, sequencer=self.sequencer, clock=host, entropy=random_source)
        self._resolver = Resolver(
            postgres, keys=keys, clock=host, metrics=METRICS, watch=lambda *_: None, shared=redis
        )
        self._granter = Granter(postgres, recent=recent, clock=host, metrics=METRICS)
        instances = Instances(keys=keys, recent=recent)
        enrolments = EnrolmentsInMemory(cluster, self._trip, stale=stale)
        self._membership = Membership(enrolments, records=postgres, clock=host)
        self._sidecar_api = SidecarApi(
            granter=self._granter,
            resolver=self._resolver,
            recent=recent,
            enroller=Enroller(
                self._resolver,
                keys=keys,
                instances=instances,
                recent=recent,
                edge_keys=EdgeKeys(),
                enrolments=enrolments,
                clock=host,
                refused=lambda refusal: None,
            ),
            instances=instances,
            membership=self._membership,
            keys=keys,
            usage=Usage(NO_TOKENS, metrics=METRICS),
            acknowledgements=self._acknowledgements,
            recovery=Recovery(
                postgres, sequencer=self.sequencer, keys=keys, clock=host, entropy=random_source
            ),
        )
        self._keys = keys

    async def run(self) -> None:
        """Run all parts of the authority until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            self.alive = True
            core = (self.recent, self._resolver, self._granter, self._membership, self.sequencer)
            for part in (*core, self.enforcer, self.term, self.ends, self._until):
                self._tasks.create_task(part.run())

    def crash(self, running: asyncio.Task[None]) -> None:
        """End the process, and fail the calls in flight."""
        self.alive = False
        running.cancel()
        for future in list(self._under_way):
            if not future.done():
                future.set_exception(UnreachableError("the authority crashed"))

    async def _trip(self) -> None:
        pause_s = self.host.paused_until_s - now_s()
        if pause_s > 0 or self._random.random() < _SLOW_TRIPS:
            await asyncio.sleep(max(0.0, pause_s) + self._random.expovariate(1 / 0.002))
        if self.postgres_away and self._random.random() < _AWAY:
            raise StoreUnavailableError("the plan says so")

    # Messages to sidecars (ports Announcer and Caller) ------------------------------------------

    def announce(self, batch: Batch) -> None:
        payload = events.encode_batch(batch, partial(self._keys.sign, Purpose.EVENTS))
        self._publish(nats_subjects.EVENTS, payload)

    def call(self, wanted: AckRequest) -> None:
        self._publish(nats_subjects.WANTED, heartbeat.encode_ack_request(wanted))

    # Received messages --------------------------------------------------------------------------

    def receive(self, subject: str, payload: bytes) -> None:
        """Handle a message without an answer, as `nats/sidecar_requests.py` does."""
        try:
            if subject == nats_subjects.ACK:
                self._sidecar_api.ack(payload)
            elif self._keys.verify(Purpose.EVENTS, signed_envelope.decode(payload)):
                self.recent.offer(events.decode_batch(payload))
        except RescindError:
            return

    def ask(self, subject: str, payload: bytes, answer: Callable[[bytes], None]) -> None:
        """Handle a request in a task, and pass its answer to `answer`."""
        if self.alive:
            self._tasks.create_task(self._answer(subject, payload, answer))

    async def _answer(self, subject: str, payload: bytes, answer: Callable[[bytes], None]) -> None:
        lanes = {
            nats_subjects.HEARTBEAT: self._sidecar_api.heartbeat,
            nats_subjects.RESOLVE: self._sidecar_api.look_up,
            nats_subjects.ENROL: self._sidecar_api.enrol,
            nats_subjects.SINCE: self._sidecar_api.since,
            nats_subjects.OFFER: self._sidecar_api.offer,
        }
        try:
            answer(await lanes[subject](payload))
        except MalformedMessageError:
            answer(EMPTY)
        except LookupUnavailableError as error:
            answer(error.answer)
        except RescindError:
            answer(EMPTY)

    async def run_inside(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work inside this process. Raises UnreachableError if the process crashes."""
        if not self.alive:
            work.close()
            raise UnreachableError("the authority is not running")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._under_way[future] = None
        self._tasks.create_task(_settle(future, work))
        try:
            return await future
        finally:
            self._under_way.pop(future, None)


def _leads_to_the_old(random_source: Random) -> bool:
    """Return True if a connection leads to the former primary, as a part of them does."""
    return random_source.random() < _OLD


async def _settle(future: asyncio.Future[T], work: Coroutine[Any, Any, T]) -> None:
    try:
        result = await work
    except RescindError as error:
        if not future.done():
            future.set_exception(error)
    else:
        if not future.done():
            future.set_result(result)
