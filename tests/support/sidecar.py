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
from rescind.core import handles, ids, ledger, mac, tokens
from rescind.core.posture import STRICT, Posture
from rescind.core.record import Record
from rescind.core.revocation import Effect, Event, Hold, Revocation, hits
from rescind.core.secret import Secret
from rescind.core.tokens import Kind
from rescind.core.verdict import Denied
from rescind.errors import UnreachableError
from rescind.wire import enrolment, events, heartbeat, offer, records, used
from rescind.wire.enrolment import Belongings, Granted
from rescind.wire.sealed import Sealed
from rescind.wire.trust import Purpose
from rescind_runtime.clock import SystemClock
from rescind_runtime.signing import Keyring, Trust
from rescind_sidecar.dice import SystemDice
from rescind_sidecar.notary import FreshKeys, TrustNotary
from rescind_sidecar.ports import NotEnrolledError, Voice
from rescind_sidecar.redis.records import RedisRecords
from rescind_sidecar.socket.server import Server
from rescind_sidecar.table_file import TableFile
from rescind_sidecar.usecases.acknowledge import Acknowledge
from rescind_sidecar.usecases.answer import Answer, Found
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

EDGE_KEY = bytes(range(32))
HOUR_US = 3_600_000_000
SOMEBODY = Source(user=1, process=1)


class LedgerInMemory:
    """An authority that answers at once: the Link port over a ledger in memory."""

    def __init__(self, *, term_ms: int = 10_000) -> None:
        self.position = ledger.genesis(1)
        self.term_ms = term_ms
        self.reachable = True
        self.acknowledged: list[heartbeat.Ack] = []
        self.released: list[heartbeat.Release] = []
        self.reported: list[used.Used] = []
        self.offered: list[offer.Offer] = []
        self.wants_more = True
        self.resolved = 0
        self.asked_since = 0
        self.resolving: asyncio.Event | None = None
        self.keyring = Keyring.create(root=os.urandom(32), now_us=now_us())
        self.enrolled = 0
        self._payloads: list[bytes] = []
        self._events: list[Event] = []
        self._records: dict[bytes, Record] = {}

    def _reach(self) -> None:
        if not self.reachable:
            raise UnreachableError("the test cut the link")

    async def enrol(self, message: enrolment.Request) -> Sealed:
        self._reach()
        self.enrolled += 1
        opened = self.keyring.open(message.box)
        assert opened is not None
        credential = enrolment.decode_credential(opened)
        assert credential.nonce == message.nonce
        secret = self.secret(credential.instance)
        belongings = enrolment.encode_belongings(Belongings(secret, (EDGE_KEY,)))
        answer = Granted(
            nonce=message.nonce,
            instance=credential.instance,
            epoch=self.position.epoch,
            statement=self.keyring.statement,
            box=self.keyring.seal_to(message.public, belongings),
        )
        return self.keyring.sign(Purpose.ENROLMENT, enrolment.encode_answer(answer))

    def secret(self, instance: bytes) -> bytes:
        return mac.instance_secret(
            self.keyring.master, epoch=self.position.epoch, instance=instance
        )

    def _recognise(self, voice: Voice) -> None:
        if voice.secret != self.secret(voice.instance):
            raise NotEnrolledError

    def sign_events(self, content: bytes) -> Sealed:
        return self.keyring.sign(Purpose.EVENTS, content)

    def sign_record(self, content: bytes) -> Sealed:
        return self.keyring.sign(Purpose.RECORDS, content)

    async def beat(self, message: heartbeat.Heartbeat, voice: Voice) -> heartbeat.Reply:
        self._reach()
        self._recognise(voice)
        missing = self._payloads[message.applied.seq :] if message.applied else []
        return heartbeat.Reply(
            instance=message.instance,
            nonce=message.nonce,
            position=self.position,
            grant_term_ms=self.term_ms,
            authority_us=now_us(),
            payloads=tuple(missing[: events.MAX_EVENTS]),
        )

    async def since(self, message: heartbeat.Since, voice: Voice) -> heartbeat.Events:
        self.asked_since += 1
        self._reach()
        self._recognise(voice)
        missing = self._payloads[message.seq :][: events.MAX_EVENTS]
        return heartbeat.Events(self.position.epoch, tuple(missing))

    async def resolve(self, message: records.Resolve) -> records.Resolved:
        self._reach()
        self.resolved += 1
        as_of = self.position.seq
        record = self._records.get(message.token_hash)
        answer = (
            None if record is None else records.encode(self._as_of_now(record), self.sign_record)
        )
        if self.resolving is not None:
            await self.resolving.wait()  # a slow fill: what was read stays as it was read
        return records.Resolved(self.position.epoch, as_of, answer)

    def _as_of_now(self, record: Record) -> Record:
        holds = tuple(
            Hold(event.revocation.revocation_id, event.revocation.effect, event.seq)
            for event in self._events
            if hits(
                event,
                handles=record.handles,
                issued_seq=record.issued_seq,
                issued_at_us=record.issued_at_us,
            )
        )
        taken = {hold.revocation_id for hold in holds if hold.effect == Effect.NARROW}
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
            holds=holds,
            removed=tuple(sorted(removed)),
        )

    def encoded(self, token: str) -> bytes:
        """Give a token's record as it is now, as an authority would leave it in Redis."""
        record = self._as_of_now(self._records[tokens.digest(token)])
        return records.encode(record, self.sign_record)

    def adopt(self, other: "LedgerInMemory", token: str) -> None:
        """Know a token that another ledger issued."""
        self._records[tokens.digest(token)] = other._records[tokens.digest(token)]

    async def acknowledge(self, message: heartbeat.Ack, voice: Voice) -> None:
        self._reach()
        self.acknowledged.append(message)

    async def release(self, message: heartbeat.Release, voice: Voice) -> None:
        self._reach()
        self.released.append(message)

    async def offer(self, message: offer.Offer, voice: Voice) -> offer.Taken:
        self._reach()
        self.offered.append(message)
        return offer.Taken(wanted=self.wants_more)

    async def used(self, message: used.Used, voice: Voice) -> None:
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
    ) -> str:
        token = tokens.mint(kind=kind, random=os.urandom(32), edge_key=EDGE_KEY).reveal()
        token_id = ids.make("tok", now_ms=now_us() // 1000, entropy=os.urandom(10))
        record = Record(
            token_hash=tokens.digest(token),
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
        """Commit an event, and give the batch that NATS would bring."""
        before = self.position
        event = Event(
            epoch=before.epoch,
            seq=before.seq + 1,
            at_us=now_us(),
            revocation=Revocation(
                revocation_id=ids.make("rev", now_ms=now_us() // 1000, entropy=os.urandom(10)),
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
        """Be a ledger that was set back to an earlier position, as after a restored backup."""
        self._payloads = self._payloads[:seq]
        self._events = self._events[:seq]
        position = ledger.replay(ledger.genesis(1), self._payloads)
        self.position = ledger.Position(epoch, position.seq, position.head)


class RunningSidecar:
    """A sidecar's use cases and socket, in an event loop of a thread of their own."""

    def __init__(
        self,
        path: Path,
        link: LedgerInMemory,
        *,
        interval_s: float = 0.05,
        redis: RedisRecords | None = None,
        allowance: Allowance | None = None,
        posture: Posture = STRICT,
    ) -> None:
        self.path = path
        self.link = link
        self.tally = Tally()
        self._interval_s = interval_s
        self._redis = redis
        self._allowance = allowance or Allowance.of(2_000)
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
        clock, dice, due = SystemClock(), SystemDice(), asyncio.Event()
        self.incarnations = Incarnations(self._tables, FreshKeys(), self.tally)
        trust = self.link.keyring.trust
        notary = TrustNotary(Trust(trust.root, trust.signed_statement))
        acknowledge = Acknowledge(self.incarnations, self.link, self.tally)
        self.offers = Offers(self.incarnations, self.link)
        self.watchers = Watchers()
        self.follow = Follow(
            incarnations=self.incarnations,
            link=self.link,
            notary=notary,
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
            notary=notary,
            dice=dice,
            tally=self.tally,
        )
        renew = Renew(
            pushes=lambda: True,
            identity=Identity("search", "host", "0", str(self._posture)),
            incarnations=self.incarnations,
            enrol=enrol,
            follow=self.follow,
            offers=self.offers,
            link=self.link,
            clock=clock,
            dice=dice,
            tally=self.tally,
            due=due,
            interval_s=self._interval_s,
        )
        async with asyncio.TaskGroup() as tasks:
            jobs = [
                tasks.create_task(job)
                for job in (self.follow.repair(), acknowledge.run(), renew.run(), self.offers.run())
            ]
            self.uses = Uses(self.incarnations, self.link, dice, self.tally)
            fetch = Fetch(
                self.incarnations,
                self.link,
                notary,
                clock,
                self.tally,
                budget=Budget(self._allowance),
                shared=self._redis,
            )
            answer = Answer(
                self.incarnations,
                fetch,
                CatchUp(self.incarnations, self.follow, clock),
                uses=self.uses,
                clock=clock,
                tally=self.tally,
                prefix="rsc",
            )
            if self._redis is not None:
                jobs.append(tasks.create_task(self._redis.run()))
            self.answer = answer
            self.server = Server(
                answer=answer,
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
        """Run something in the sidecar's loop, and wait until it is done."""
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

    def look(self, token: str, *, source: Source = SOMEBODY) -> Found | Denied:
        """Look at a token as the socket would, for whoever it is."""
        looking = self.answer.look(token, source=source)
        return asyncio.run_coroutine_threadsafe(looking, self._loop).result(timeout=10)

    def report(self) -> None:
        """Report the tokens in use now, and not in half a minute."""
        asyncio.run_coroutine_threadsafe(self.uses.report(), self._loop).result(timeout=10)

    def forget(self, token: str) -> None:
        """Forget a record, as if others had taken its place."""
        self.do(lambda: self.incarnations.current.view.records.drop(tokens.digest(token)))

    def push(self, batch: bytes) -> None:
        """Bring a batch, as NATS would; it is applied when this returns."""
        self.do(lambda: self.follow.pushed(batch))

    @property
    def leased(self) -> bool:
        return self.incarnations.current.view.leased(SystemClock().boottime_ns())

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
    redis: RedisRecords | None = None,
    allowance: Allowance | None = None,
    posture: Posture = STRICT,
) -> Iterator[RunningSidecar]:
    """Run a sidecar that holds a lease, and has found Redis if it is to have one."""
    sidecar = RunningSidecar(
        path, link, interval_s=interval_s, redis=redis, allowance=allowance, posture=posture
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
    """Wait for a state that can be observed. Fails at the deadline."""
    ends = time.monotonic() + deadline_s
    while not observed():
        in_time(ends, "the state did not come")
        time.sleep(0.002)


async def accepted(verifier: Verifier, token: str, *, deadline_s: float = 10) -> None:
    """Wait until the token is accepted: its first sight may take longer than one check waits."""
    ends = time.monotonic() + deadline_s
    while isinstance(verdict := await verifier.acheck(token), Denied):
        in_time(ends, verdict)


def now_us() -> int:
    return time.time_ns() // 1000
