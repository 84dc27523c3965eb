"""A sidecar in a thread of the test, on a real socket and table, following a ledger in memory."""

import asyncio
import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import uvloop
from tests.support.outcomes import in_time

from rescind import Verifier
from rescind.client.clock import boot_id
from rescind.core import handles, instance_mac, ledger, public_ids, token_format
from rescind.core.conditions import UNCONDITIONAL, Conditions
from rescind.core.posture import STRICT, Posture
from rescind.core.record import Record
from rescind.core.revocation import Effect, Event, Restriction, Revocation, hits
from rescind.core.secret import Secret
from rescind.core.token_format import Kind
from rescind.core.verdict import Denied
from rescind.errors import UnreachableError
from rescind.wire import (
    enrolment,
    events,
    heartbeat,
    lookups,
    nats_subjects,
    records,
    recovery_offer,
    usage_report,
)
from rescind.wire.enrolment import EnrolmentRefused, Granted, InstanceSecrets
from rescind.wire.signed_envelope import SignedEnvelope
from rescind.wire.trust_statement import Purpose
from rescind_runtime.clock import SystemClock
from rescind_runtime.crypto.signing import Keyring
from rescind_runtime.crypto.trust import Trust
from rescind_sidecar.link.transport import AuthorityBusyError
from rescind_sidecar.ports import InstanceCredentials, UnknownInstanceError
from rescind_sidecar.random_source import SystemRandomSource
from rescind_sidecar.redis.record_cache import RedisRecordReader
from rescind_sidecar.socket.server import SocketServer
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.table_file import TableFile
from rescind_sidecar.trust_store import FreshKeys, UpdatingTrustStore
from rescind_sidecar.usecases.instance import SidecarInstances
from rescind_sidecar.usecases.lease.enrol import Enrol
from rescind_sidecar.usecases.lease.renew import Identity, Renew
from rescind_sidecar.usecases.ledger.acknowledge import Acknowledger
from rescind_sidecar.usecases.ledger.catch_up import CatchUp
from rescind_sidecar.usecases.ledger.change_notifier import ChangeNotifier
from rescind_sidecar.usecases.ledger.follow import LedgerFollower
from rescind_sidecar.usecases.ledger.recovery_offers import RecoveryOffers
from rescind_sidecar.usecases.lookup.answer import TokenLookup, ValidRecord
from rescind_sidecar.usecases.lookup.fetch import Fetch
from rescind_sidecar.usecases.lookup.lookup_budgets import LookupBudgets, LookupLimits, LookupSource
from rescind_sidecar.usecases.lookup.usage_reports import UsageReports

EDGE_KEY = bytes(range(32))
HOUR_US = 3_600_000_000
PEER = LookupSource(user=1, process=1)


class LedgerInMemory:
    """An authority that answers at once: the Link port over a ledger in memory."""

    def __init__(self, *, term_ms: int = 10_000) -> None:
        self.position = ledger.genesis(1)
        self.term_ms = term_ms
        self.reachable = True
        self.told_serial: int | None = None
        """The serial of the trust statement in the last heartbeat."""
        self.acknowledged: list[heartbeat.Ack] = []
        self.released: list[heartbeat.Release] = []
        self.reported: list[usage_report.Used] = []
        self.offered: list[recovery_offer.Offer] = []
        self.wants_more = True
        self.resolved = 0
        self.shown: list[tuple[int, int, bytes]] = []
        """The presentation of the token in each look-up: seq, time, and possession proof."""
        self.asked_since = 0
        self.resolving: asyncio.Event | None = None
        self.keyring = Keyring.create(root=os.urandom(32), now_us=now_us())
        self.enrolled = 0
        self._payloads: list[bytes] = []
        self._events: list[Event] = []
        self._records: dict[bytes, Record] = {}
        self._counted: dict[bytes, tuple[int, bytes]] = {}

    def _reach(self) -> None:
        if not self.reachable:
            raise UnreachableError("the test cut the link")

    async def enrol(self, message: enrolment.EnrolmentRequest) -> SignedEnvelope:
        self._reach()
        if not message.box:
            refused = EnrolmentRefused(
                message.nonce, "no credential was shown", self.keyring.statement
            )
            return self.keyring.sign(Purpose.ENROLMENT, enrolment.encode_answer(refused))
        self.enrolled += 1
        opened = self.keyring.open(message.box)
        assert opened is not None
        credential = enrolment.decode_credential(opened)
        assert credential.nonce == message.nonce
        secret = self.secret(credential.instance)
        instance_secrets = enrolment.encode_instance_secrets(InstanceSecrets(secret, (EDGE_KEY,)))
        answer = Granted(
            nonce=message.nonce,
            instance=credential.instance,
            epoch=self.position.epoch,
            statement=self.keyring.statement,
            box=self.keyring.encrypt_for(message.public, instance_secrets),
        )
        return self.keyring.sign(Purpose.ENROLMENT, enrolment.encode_answer(answer))

    def secret(self, instance: bytes) -> bytes:
        return instance_mac.instance_secret(
            self.keyring.master, epoch=self.position.epoch, instance=instance
        )

    def _recognise(self, credentials: InstanceCredentials) -> None:
        if credentials.secret != self.secret(credentials.instance):
            raise UnknownInstanceError

    def sign_events(self, content: bytes) -> SignedEnvelope:
        return self.keyring.sign(Purpose.EVENTS, content)

    def sign_record(self, content: bytes) -> SignedEnvelope:
        return self.keyring.sign(Purpose.RECORDS, content)

    async def beat(
        self, message: heartbeat.Heartbeat, credentials: InstanceCredentials
    ) -> heartbeat.Reply | heartbeat.NoLease:
        self._reach()
        self._recognise(credentials)
        refused = self._refused(message)
        if refused is not None:
            return refused
        self.told_serial = message.trust_serial
        missing = self._payloads[message.applied.seq :] if message.applied else []
        return heartbeat.Reply(
            instance=message.instance,
            nonce=message.nonce,
            position=self.position,
            grant_term_ms=self.term_ms,
            authority_us=now_us(),
            payloads=tuple(missing[: events.MAX_EVENTS]),
            trust_serial=self.keyring.serial,
            statement=self._newer_than(message.trust_serial),
        )

    def _refused(self, message: heartbeat.Heartbeat) -> heartbeat.NoLease | None:
        """Return the refusal of a heartbeat that does not count, and note one that does.

        Raises AuthorityBusyError for a repeated one, which has no answer.
        """
        counter, nonce = self._counted.get(message.instance, (0, b""))
        over = any(each.instance == message.instance for each in self.released)
        if message.counter > counter and not over:
            self._counted[message.instance] = message.counter, message.nonce
            return None
        if message.trail is None or (message.nonce == nonce and not over):
            raise AuthorityBusyError(nats_subjects.HEARTBEAT)
        return heartbeat.NoLease(message.instance, message.nonce, counter, over)

    def _newer_than(self, known: int | None) -> bytes:
        return b"" if known in {None, self.keyring.serial} else self.keyring.statement

    async def since(
        self, message: heartbeat.Since, credentials: InstanceCredentials
    ) -> heartbeat.Events:
        self.asked_since += 1
        self._reach()
        self._recognise(credentials)
        missing = self._payloads[message.seq :] if message.epoch == self.position.epoch else []
        return heartbeat.Events(self.position.epoch, tuple(missing[: events.MAX_EVENTS]))

    async def look_up(
        self, message: lookups.LookupRequest, credentials: InstanceCredentials
    ) -> lookups.LookupAnswer:
        self._reach()
        self._recognise(credentials)
        if message.presented is not None:
            assert message.nonce is not None
            possession = instance_mac.mask(
                credentials.secret, message.nonce, message.presented.proof
            )
            self.shown.append((message.presented.seq, message.presented.at_us, possession))
        self.resolved += 1
        as_of = self.position.seq
        record = self._records.get(message.token_hash)
        answer = (
            None if record is None else records.encode(self._as_of_now(record), self.sign_record)
        )
        if self.resolving is not None:
            await self.resolving.wait()  # a slow fill: the values that were read do not change
        return lookups.LookupAnswer(
            self.position.epoch, as_of, answer, message.nonce, message.token_hash
        )

    def _as_of_now(self, record: Record) -> Record:
        restrictions = tuple(
            Restriction(event.revocation.revocation_id, event.revocation.effect, event.seq)
            for event in self._events
            if hits(
                event,
                handles=record.handles,
                issued_seq=record.issued_seq,
                issued_at_us=record.issued_at_us,
            )
        )
        taken = {each.revocation_id for each in restrictions if each.effect == Effect.NARROW}
        removed = {
            scope
            for event in self._events
            if event.revocation.revocation_id in taken
            for scope in event.revocation.scopes
        }
        return dataclasses.replace(
            record,
            epoch=self.position.epoch,
            as_of=self.position.seq,
            restrictions=restrictions,
            removed=tuple(sorted(removed)),
        )

    def encoded(self, token: str) -> bytes:
        """Return a token's current record, as an authority would store it in Redis."""
        record = self._as_of_now(self._records[token_format.digest(token)])
        return records.encode(record, self.sign_record)

    def adopt(self, other: "LedgerInMemory", token: str) -> None:
        """Add a token that another ledger issued."""
        self._records[token_format.digest(token)] = other._records[token_format.digest(token)]

    async def acknowledge(self, message: heartbeat.Ack, credentials: InstanceCredentials) -> None:
        self._reach()
        self.acknowledged.append(message)

    async def release(self, message: heartbeat.Release, credentials: InstanceCredentials) -> None:
        self._reach()
        self.released.append(message)

    async def offer(
        self, message: recovery_offer.Offer, credentials: InstanceCredentials
    ) -> recovery_offer.OfferAnswer:
        self._reach()
        self.offered.append(message)
        return recovery_offer.OfferAnswer(wanted=self.wants_more)

    async def used(self, message: usage_report.Used, credentials: InstanceCredentials) -> None:
        self._reach()
        self.reported.append(message)

    def issue(
        self,
        subject: str = "agent:x",
        *,
        kind: Kind = Kind.AGENT,
        scopes: tuple[str, ...] = ("tools:call",),
        audience: tuple[str, ...] = (),
        not_before_us: int = 0,
        expires_at_us: int | None = None,
        conditions: Conditions = UNCONDITIONAL,
    ) -> str:
        token = token_format.mint(kind=kind, random=os.urandom(32), edge_key=EDGE_KEY).reveal()
        token_id = public_ids.make("tok", now_ms=now_us() // 1000, entropy=os.urandom(10))
        record = Record(
            token_hash=token_format.digest(token),
            epoch=self.position.epoch,
            as_of=self.position.seq,
            token_id=token_id,
            kind=kind,
            subject=subject,
            granted=frozenset(scopes),
            audience=frozenset(audience),
            issued_at_us=now_us(),
            issued_seq=self.position.seq,
            not_before_us=not_before_us,
            expires_at_us=expires_at_us or now_us() + HOUR_US,
            handles=handles.of_token(
                token_id=token_id,
                kind=kind,
                subject=subject,
                tenant=None,
                client=None,
                session=None,
                labels=(),
            ),
            conditions=conditions,
        )
        self._records[record.token_hash] = record
        return token

    def revoke(
        self,
        *selector: str,
        effect: str = "revoke",
        scopes: tuple[str, ...] = (),
        awaited: bool = False,
    ) -> bytes:
        """Commit an event, and return the batch that NATS would deliver."""
        before = self.position
        event = Event(
            epoch=before.epoch,
            seq=before.seq + 1,
            at_us=now_us(),
            revocation=Revocation(
                revocation_id=public_ids.make(
                    "rev", now_ms=now_us() // 1000, entropy=os.urandom(10)
                ),
                selector=handles.select(selector),
                effect=effect,
                scopes=scopes,
                reason="a test",
                actor="admin:test",
            ),
        )
        payload = events.encode(event)
        self.position = before.after(payload)
        self._payloads.append(payload)
        self._events.append(event)
        return events.encode_batch(
            events.Batch(
                epoch=event.epoch,
                first_seq=event.seq,
                before=before.head,
                after=self.position.head,
                awaited=awaited,
                payloads=(payload,),
            ),
            self.sign_events,
        )

    def restore(self, seq: int, *, epoch: int) -> None:
        """Set the ledger back to an earlier position, as after a restored backup."""
        self._payloads = self._payloads[:seq]
        self._events = self._events[:seq]
        position = ledger.replay(ledger.genesis(1), self._payloads)
        self.position = ledger.Position(epoch, position.seq, position.head)


class RunningSidecar:
    """A sidecar's use cases and socket, in the event loop of a separate thread."""

    def __init__(
        self,
        path: Path,
        link: LedgerInMemory,
        *,
        interval_s: float = 0.05,
        redis: RedisRecordReader | None = None,
        limits: LookupLimits | None = None,
        posture: Posture = STRICT,
        wall_us: Callable[[], int] | None = None,
    ) -> None:
        self.path = path
        self._wall_us = wall_us or SystemClock().wall_us
        self.link = link
        self.tally = Counters()
        self._interval_s = interval_s
        self._redis = redis
        self._limits = limits or LookupLimits.of(2_000)
        self._posture = posture
        self._tables = TableFile(path, boot=boot_id(), posture=posture)
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._main()))

    async def _main(self) -> None:
        try:
            with self._tables.locked():
                await self._live()
        except Exception as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        clock, random_source, due = SystemClock(), SystemRandomSource(), asyncio.Event()
        self.instances = SidecarInstances(self._tables, FreshKeys(), self.tally)
        trust = self.link.keyring.trust
        trust_store = UpdatingTrustStore(
            Trust(trust.root, trust.signed_statement), wall_us=self._wall_us
        )
        acknowledge = Acknowledger(self.instances, self.link, self.tally)
        self.offers = RecoveryOffers(self.instances, self.link)
        self.watchers = ChangeNotifier()
        self.follow = LedgerFollower(
            instances=self.instances,
            link=self.link,
            trust_store=trust_store,
            acknowledge=acknowledge,
            offers=self.offers,
            watchers=self.watchers,
            tally=self.tally,
            clock=clock,
            beat_due=due,
        )
        enrol = Enrol(
            credential=Secret("the link takes any"),
            service="search",
            posture="strict",
            link=self.link,
            trust_store=trust_store,
            random_source=random_source,
            tally=self.tally,
        )
        renew = Renew(
            pushes=lambda: True,
            identity=Identity("search", "host", "0", str(self._posture)),
            instances=self.instances,
            enrol=enrol,
            follow=self.follow,
            offers=self.offers,
            link=self.link,
            trust_store=trust_store,
            clock=clock,
            random_source=random_source,
            tally=self.tally,
            due=due,
            interval_s=self._interval_s,
        )
        async with asyncio.TaskGroup() as tasks:
            jobs = [
                tasks.create_task(job)
                for job in (self.follow.repair(), acknowledge.run(), renew.run(), self.offers.run())
            ]
            self.uses = UsageReports(self.instances, self.link, clock, random_source, self.tally)
            fetch = Fetch(
                self.instances,
                self.link,
                trust_store,
                clock,
                self.tally,
                random_source=random_source,
                budgets=LookupBudgets(self._limits),
                shared=self._redis,
            )
            answer = TokenLookup(
                self.instances,
                fetch,
                CatchUp(self.instances, self.follow, clock),
                uses=self.uses,
                clock=clock,
                tally=self.tally,
                prefix="rsc",
            )
            if self._redis is not None:
                jobs.append(tasks.create_task(self._redis.run()))
            self.answer = answer
            self.server = SocketServer(
                lookup=answer,
                watchers=self.watchers,
                clock=clock,
                tally=self.tally,
                tasks=tasks,
                service="search",
                labels=(),
                posture=str(self._posture),
                boot=boot_id(),
            )
            await self.server.listen(self.path)
            self._ready.set_result(None)
            await self._stop.wait()
            self.server.stop()
            self._tables.retire()
            for job in jobs:
                job.cancel()

    def start(self) -> None:
        self._thread.start()
        self._ready.result(timeout=10)

    def do(self, action: Callable[[], None]) -> None:
        """Run a function in the sidecar's loop, and wait until it is done."""
        done: Future[None] = Future()

        def run() -> None:
            try:
                action()
            except Exception as error:  # noqa: BLE001 the waiting thread raises it
                done.set_exception(error)
            else:
                done.set_result(None)

        self._loop.call_soon_threadsafe(run)
        done.result(timeout=10)

    def hang_up(self) -> None:
        """Close every connection, in the sidecar's loop. The sidecar still serves new ones."""
        for connection in list(self.server.connections):
            connection.hang_up()

    def look(self, token: str, *, source: LookupSource = PEER) -> ValidRecord | Denied:
        """Look a token up as the socket would, for any peer."""
        looking = self.answer.look_up(token, source=source)
        return asyncio.run_coroutine_threadsafe(looking, self._loop).result(timeout=10)

    def report(self) -> None:
        """Report the tokens in use now, in place of in half a minute."""
        asyncio.run_coroutine_threadsafe(self.uses.report(), self._loop).result(timeout=10)

    def forget(self, token: str) -> None:
        """Drop a record, as the cache does when it is full."""
        self.do(lambda: self.instances.current.view.records.drop(token_format.digest(token)))

    def push(self, batch: bytes) -> None:
        """Deliver a batch, as NATS would; it is applied when this returns."""
        self.do(lambda: self.follow.receive_push(batch))

    @property
    def leased(self) -> bool:
        return self.instances.current.view.leased(SystemClock().boottime_ns())

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()


@contextmanager
def running(
    path: Path,
    link: LedgerInMemory,
    *,
    interval_s: float = 0.05,
    redis: RedisRecordReader | None = None,
    limits: LookupLimits | None = None,
    posture: Posture = STRICT,
    wall_us: Callable[[], int] | None = None,
) -> Iterator[RunningSidecar]:
    """Run a sidecar that holds a lease, and is connected to Redis if it is given one."""
    sidecar = RunningSidecar(
        path,
        link,
        interval_s=interval_s,
        redis=redis,
        limits=limits,
        posture=posture,
        wall_us=wall_us,
    )
    sidecar.start()
    try:
        if link.reachable:
            wait_until(lambda: sidecar.leased)
        if redis is not None:
            wait_until(lambda: redis.connected)
        yield sidecar
    finally:
        sidecar.stop()


def wait_until(observed: Callable[[], object], *, deadline_s: float = 10) -> None:
    """Wait for an observable state. Fails at the deadline."""
    ends = time.monotonic() + deadline_s
    while not observed():
        in_time(ends, "the state was not reached")
        time.sleep(0.002)


async def accepted(verifier: Verifier, token: str, *, deadline_s: float = 10) -> None:
    """Wait until the token is accepted: its first look-up may outlast the wait of one check."""
    ends = time.monotonic() + deadline_s
    while isinstance(verdict := await verifier.acheck(token), Denied):
        in_time(ends, verdict)


def now_us() -> int:
    return time.time_ns() // 1000
