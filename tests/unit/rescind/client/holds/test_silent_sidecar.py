"""Without a mapped table a hold ends with the lease that the sidecar's answers implied."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support import virtual_time

from rescind import DeniedError, Reason
from rescind import Verdict as Judgement
from rescind.client import clock
from rescind.client.holds.hold import Hold
from rescind.client.holds.monitor import HoldMonitor, confirm
from rescind.client.lease_end import LeasedVerdict
from rescind.client.sidecar_connection import NO_ANSWER, SUPERSEDED, SidecarConnection
from rescind.client.table_reader import MappedTable
from rescind.core import generation_table, handles, public_ids, token_format
from rescind.core.generation_table import HEADER_WORDS, Writer
from rescind.core.record import Record
from rescind.core.token_format import Kind
from rescind.core.verdict import CheckRequest
from rescind.wire import records
from rescind.wire.signed_envelope import SignedEnvelope
from rescind.wire.socket_protocol import Entry, Greeting, Verdict

INSTANCE, SUCCESSOR, BOOT = b"i" * 16, b"j" * 16, b"b" * 16
EDGE_KEY = bytes(range(32))
TIMEOUT_S = 0.25
LEASE_S = 9.0
NS = 10**9
NOWHERE = Path("/nonexistent/search.sock")
SLOTS = 1 << 10


def connection_of(
    instance: bytes = INSTANCE, *, posture: str = "strict", table: MappedTable | None = None
) -> SidecarConnection:
    greeting = Greeting("search", instance, BOOT, posture)
    return SidecarConnection(NOWHERE, greeting, table, timeout_s=TIMEOUT_S, most_entries=1_000)


def token_of(kind: Kind, number: int = 0) -> tuple[str, bytes, tuple[str, ...]]:
    """Return a token, its record as the sidecar sends it, and its handles."""
    random = number.to_bytes(32)
    token = token_format.mint(kind=kind, random=random, edge_key=EDGE_KEY).reveal()
    token_id = public_ids.make("tok", now_ms=1, entropy=random[-10:])
    named = handles.of_token(
        token_id=token_id,
        kind=kind,
        subject="agent:x",
        tenant=None,
        client=None,
        session=None,
        labels=(),
    )
    record = Record(
        token_hash=token_format.digest(token),
        epoch=1,
        as_of=0,
        token_id=token_id,
        kind=kind,
        subject="agent:x",
        granted=frozenset(),
        audience=frozenset(),
        issued_at_us=0,
        issued_seq=0,
        not_before_us=0,
        expires_at_us=1,
        handles=named,
    )
    return (
        token,
        records.encode(record, lambda content: SignedEnvelope(content, b"key", b"sig")),
        named,
    )


class Sidecar:
    """A judge that answers from a lease, or not at all, as the test says."""

    def __init__(self, connection: SidecarConnection) -> None:
        self.instance = connection.instance
        self.frozen = False
        self.payloads: dict[str, bytes] = {}
        self.answers: Callable[[str], bool] = lambda _: True
        self.hung_up = False
        self.as_of = 5
        self.lease_ends_s = LEASE_S
        self.token_ends_s: float | None = None
        self.took_s = 0.001
        self.asked = 0
        self.probed = 0
        self.follow(connection)

    def follow(self, connection: SidecarConnection) -> None:
        """Connect a session to this sidecar."""
        self.connection = connection
        cast("Any", connection).silent = self.silent

    async def silent(self) -> bool:
        self.probed += 1
        if self.frozen and not self.hung_up:
            await asyncio.sleep(TIMEOUT_S)
            return True
        return False

    def check_request(self, request: CheckRequest) -> Judgement:
        raise NotImplementedError

    async def acheck_request(self, request: CheckRequest) -> Judgement:
        token = str(request.token)
        self.asked += 1
        sent_ns = clock.boottime_ns()
        if self.hung_up:
            self.connection._hung_up = True
            return NO_ANSWER
        if self.frozen or not self.answers(token):
            await asyncio.sleep(TIMEOUT_S)
            return NO_ANSWER
        await asyncio.sleep(self.took_s)
        verdict = self.connection.apply_response(token, self.answer(token), sent_ns=sent_ns)
        assert verdict is not None
        assert verdict is not SUPERSEDED
        return verdict

    def answer(self, token: str) -> Verdict:
        now_s = asyncio.get_running_loop().time()
        ends_s = self.token_ends_s
        return Verdict(
            request=1,
            instance=self.instance,
            reason=None,
            record=self.payloads[token],
            as_of=self.as_of,
            fresh_for_ms=max(0, int((self.lease_ends_s - now_s) * 1000)),
            token_for_ms=None if ends_s is None else max(0, int((ends_s - now_s) * 1000)),
        )

    def recall_request(self, request: CheckRequest) -> Judgement | None:
        found = self.connection.recall(request.token)
        return None if found is SUPERSEDED else found


class Schedule:
    """The holds of a test, and when each of them ended."""

    def __init__(self) -> None:
        self.next_check_ns = 0
        self.holds: set[Hold] = set()
        self.monitor: HoldMonitor | None = None

    def check_request(self, request: CheckRequest) -> Judgement:
        raise NotImplementedError

    async def acheck_request(self, request: CheckRequest) -> Judgement:
        assert self.monitor is not None
        judged: Judgement = await self.monitor._checker.acheck_request(request)
        return judged

    def add(self, hold: Hold) -> None:
        self.holds.add(hold)

    def schedule(self, hold: Hold) -> None:
        assert self.monitor is not None
        connection = self.monitor._connection()
        self.check_by(confirm(hold, connection.ends_ns(hold.request.token)))

    def remove(self, hold: Hold) -> None:
        self.holds.discard(hold)

    def take(self, next_check_ns: int) -> Collection[Hold]:
        self.next_check_ns = next_check_ns
        return self.holds.copy()

    def check_by(self, ns: int) -> bool:
        earlier = ns < self.next_check_ns
        self.next_check_ns = min(ns, self.next_check_ns)
        return earlier

    def finished(self) -> bool:
        return not self.holds


class SilentSubscription:
    """A connection that stays open, as to a sidecar that is stopped: nothing comes."""

    open = True

    async def listen(self) -> None:
        await asyncio.Event().wait()


class Scene:
    """Holds of one verifier, begun while the sidecar answered."""

    def __init__(self, sidecar: Sidecar) -> None:
        self.sidecar = sidecar
        self.schedule = Schedule()
        self.monitor = HoldMonitor(self.schedule, sidecar, lambda: sidecar.connection)
        self.monitor.subscription = cast("Any", SilentSubscription())
        self.schedule.monitor = self.monitor
        self.ended_s: dict[str, list[float]] = {}
        self.reasons: set[Reason] = set()
        self._running: asyncio.Task[None] | None = None
        self._works: list[asyncio.Task[None]] = []

    async def hold(self, many: int, *, kind: Kind = Kind.AGENT, number: int = 0) -> str:
        token, payload, _ = token_of(kind, number)
        self.sidecar.payloads[token] = payload
        begun = [asyncio.Event() for _ in range(many)]
        self._works += [asyncio.create_task(self._work(token, each)) for each in begun]
        for each in begun:
            await each.wait()
        if self._running is None:
            self._running = asyncio.create_task(self.monitor.run())
        return token

    async def _work(self, token: str, begun: asyncio.Event) -> None:
        hold = Hold(self.schedule, CheckRequest(token))
        with suppress(DeniedError):
            async with hold:
                begun.set()
                await asyncio.Event().wait()
        assert hold.reason is not None
        self.reasons.add(hold.reason)
        self.ended_s.setdefault(token, []).append(asyncio.get_running_loop().time())

    async def over(self) -> list[float]:
        """Wait until every hold has ended; return when each did."""
        assert self._running is not None
        await asyncio.gather(self._running, *self._works)
        return sorted(each for ended in self.ended_s.values() for each in ended)

    async def stop(self) -> None:
        for task in (*self._works, self._running):
            if task is not None:
                task.cancel()
        await asyncio.gather(*self._works, return_exceptions=True)


@pytest.fixture(autouse=True)
def virtual_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the client's clocks to the time of the loop, which begins at 0."""

    def now_s() -> float:
        return asyncio.get_running_loop().time()

    monkeypatch.setattr(clock, "monotonic_s", now_s)
    monkeypatch.setattr(clock, "boottime_ns", lambda: round(now_s() * NS))


def run(scene: Callable[[Scene], Coroutine[Any, Any, None]], **connection: Any) -> None:
    async def main() -> None:
        await scene(Scene(Sidecar(connection_of(**connection))))

    virtual_time.run(main())


@pytest.mark.parametrize("many", [1, 4_000])
def test_beside_a_frozen_sidecar_all_holds_end_together_with_the_lease(many: int) -> None:
    async def frozen(scene: Scene) -> None:
        await scene.hold(many)
        scene.sidecar.frozen = True
        ended_s = await scene.over()
        assert len(ended_s) == many
        assert LEASE_S - 0.01 <= ended_s[0] <= ended_s[-1] <= LEASE_S
        assert scene.reasons == {Reason.NO_LEASE}

    run(frozen)


def test_beside_a_silent_sidecar_one_request_at_a_time_is_sent() -> None:
    async def frozen(scene: Scene) -> None:
        await scene.hold(10_000)
        scene.sidecar.frozen, scene.sidecar.asked = True, 0
        await scene.over()
        assert scene.sidecar.asked <= 64  # the first round
        assert scene.sidecar.probed <= LEASE_S / TIMEOUT_S

    run(frozen)


def test_checks_of_holds_take_at_most_a_fifth_of_the_time() -> None:
    async def rest(scene: Scene) -> None:
        for took_s in (0.001, 0.02, 0.2):
            assert took_s <= (took_s + scene.monitor._choose_pause_s(10, took_s)) / 5 + 1e-9

    run(rest)


def test_no_hold_ends_beside_a_sidecar_that_answers_again_before_its_lease_ends() -> None:
    async def busy(scene: Scene) -> None:
        await scene.hold(1_000)
        for _ in range(5):
            scene.sidecar.frozen = True
            await asyncio.sleep(LEASE_S - 2)
            scene.sidecar.lease_ends_s += LEASE_S
            scene.sidecar.frozen = False
            await asyncio.sleep(2)
        assert not scene.ended_s
        await scene.stop()

    run(busy)


def test_no_hold_ends_beside_a_sidecar_that_takes_nearly_the_whole_time_of_a_check() -> None:
    async def slow(scene: Scene) -> None:
        await scene.hold(500)
        scene.sidecar.took_s = 0.9 * TIMEOUT_S
        for _ in range(5):
            scene.sidecar.lease_ends_s += LEASE_S
            await asyncio.sleep(LEASE_S)
        assert not scene.ended_s
        await scene.stop()

    run(slow)


def test_one_answer_at_the_same_position_renews_the_lease_for_all() -> None:
    async def one_answers(scene: Scene) -> None:
        heard = await scene.hold(1)
        await scene.hold(200, number=1)
        scene.sidecar.answers = lambda token: token == heard
        for _ in range(4):
            scene.sidecar.lease_ends_s += LEASE_S
            await asyncio.sleep(LEASE_S)
        assert not scene.ended_s
        last_s = scene.sidecar.lease_ends_s
        scene.sidecar.frozen = True
        ended_s = await scene.over()
        assert last_s - 0.01 <= ended_s[0] <= ended_s[-1] <= last_s

    run(one_answers)


def test_an_answer_at_a_later_position_renews_only_what_was_confirmed_there() -> None:
    async def hit_perhaps(scene: Scene) -> None:
        heard = await scene.hold(1)
        unheard = await scene.hold(200, number=1)
        scene.sidecar.answers = lambda token: token == heard
        scene.sidecar.as_of += 1  # an event, which may have hit what is not answered
        scene.sidecar.lease_ends_s += LEASE_S
        await asyncio.sleep(LEASE_S + 1)
        assert len(scene.ended_s[unheard]) == 200
        assert max(scene.ended_s[unheard]) <= LEASE_S
        assert heard not in scene.ended_s
        await scene.stop()

    run(hit_perhaps)


def test_an_answer_that_a_later_one_overtook_renews_nothing() -> None:
    connection = connection_of()
    token, payload, _ = token_of(Kind.AGENT)

    def settle(as_of: int, fresh_for_ms: int, sent_ns: int) -> LeasedVerdict:
        verdict = connection.apply_response(
            token,
            Verdict(1, INSTANCE, None, payload, as_of, fresh_for_ms),
            sent_ns=sent_ns,
        )
        assert isinstance(verdict, LeasedVerdict)
        return verdict

    older, newer = settle(5, 1_000, NS), settle(6, 1_000, 2 * NS)
    assert (older.leased_until_ns, newer.leased_until_ns) == (2 * NS, 3 * NS)
    late = settle(5, 9_000, 3 * NS)
    assert late.leased_until_ns == 12 * NS  # its own, and no other's
    assert (older.leased_until_ns, newer.leased_until_ns) == (2 * NS, 3 * NS)
    # A lease only becomes longer: one that was asked for later may say a shorter rest.
    assert settle(7, 0, 4 * NS).leased_until_ns == 3 * NS
    assert (connection.forked()._lease_end.ends_ns, connection._lease_end.ends_ns) == (
        3 * NS,
        3 * NS,
    )


def test_each_kind_has_its_grace_beyond_the_lease() -> None:
    async def frozen(scene: Scene) -> None:
        strict = await scene.hold(100)
        lenient = await scene.hold(100, kind=Kind.SESSION)
        scene.sidecar.frozen = True
        await scene.over()
        for token, ends_s in ((strict, LEASE_S), (lenient, LEASE_S + 30)):
            ended_s = scene.ended_s[token]
            assert ends_s - 0.01 <= min(ended_s) <= max(ended_s) <= ends_s

    run(frozen, posture="grace:session=30s")


def test_a_hold_that_was_first_judged_in_grace_goes_on_while_the_sidecar_answers() -> None:
    async def in_grace(scene: Scene) -> None:
        scene.sidecar.lease_ends_s = 0  # nothing says how long ago it ended
        await scene.hold(100, kind=Kind.SESSION)
        await asyncio.sleep(20)
        assert not scene.ended_s
        scene.sidecar.frozen = True
        ended_s = await scene.over()
        assert ended_s[-1] <= 20 + 4 * TIMEOUT_S + 1  # the look that is due within a second

    run(in_grace, posture="grace:session=30s")


def test_a_token_that_ends_beside_a_frozen_sidecar_ends_its_holds_then() -> None:
    async def frozen(scene: Scene) -> None:
        scene.sidecar.token_ends_s = 3.0
        await scene.hold(1_000)
        scene.sidecar.frozen = True
        ended_s = await scene.over()
        assert 3.0 - 0.01 <= ended_s[0] <= ended_s[-1] <= 3.0 + TIMEOUT_S

    run(frozen)


def test_beside_a_sidecar_that_hung_up_all_holds_end_after_the_time_of_a_check() -> None:
    async def killed(scene: Scene) -> None:
        await scene.hold(4_000)
        scene.sidecar.hung_up = True
        ended_s = await scene.over()
        # A look is due within a second; a successor has the time of a check to come up.
        assert ended_s[-1] <= 1 + 2 * TIMEOUT_S + 0.1
        assert scene.reasons == {Reason.UNAVAILABLE}

    run(killed)


def test_a_sidecar_that_is_killed_while_it_is_silent_ends_all_holds_too() -> None:
    async def killed(scene: Scene) -> None:
        await scene.hold(4_000)
        scene.sidecar.frozen = True
        await asyncio.sleep(3)
        scene.sidecar.hung_up = True
        assert (await scene.over())[-1] <= 3 + 1 + 3 * TIMEOUT_S

    run(killed)


def test_the_lease_of_a_predecessor_keeps_no_hold_beside_a_silent_successor() -> None:
    async def replaced(scene: Scene) -> None:
        await scene.hold(500)
        # The other one may have given its lease back: a receipt does not wait for it.
        scene.sidecar.follow(connection_of(SUCCESSOR))
        scene.sidecar.frozen = True
        ended_s = await scene.over()
        assert ended_s[-1] < LEASE_S

    run(replaced)


def test_holds_that_wait_for_an_answer_beside_a_mapped_table_end_with_its_lease() -> None:
    words = memoryview(bytearray(generation_table.size_bytes(SLOTS))).cast("Q")
    writer = Writer(words, instance=INSTANCE, boot=BOOT, slots=SLOTS)
    table = cast("MappedTable", SimpleNamespace(words=words, replaced=lambda: False))
    assert len(words) == HEADER_WORDS + SLOTS

    class Mapped(Sidecar):
        async def acheck_request(self, request: CheckRequest) -> Judgement:
            token = str(request.token)
            if self.frozen or not self.answers(token):
                return await super().acheck_request(request)
            _, payload, named = token_of(Kind.AGENT)
            slots = generation_table.slots_of(named, SLOTS)
            entry = Entry(
                request=1,
                instance=INSTANCE,
                record=payload,
                slots=slots,
                stamps=writer.stamps(slots),
                generation=writer.generation,
                not_before_ns=0,
                until_ns=3_600 * NS,
            )
            assert self.connection.apply_response(token, entry, sent_ns=0) is None
            recalled = self.recall_request(request)
            assert recalled is not None
            return recalled

    async def main() -> None:
        writer.extend(round(LEASE_S * NS))
        scene = Scene(Mapped(connection_of(table=table)))
        await scene.hold(4_000)
        await asyncio.sleep(LEASE_S - 1)
        scene.sidecar.frozen = True
        writer.bump("subject:agent:x", applied=6)  # and stops before it could tell
        ended_s = await scene.over()
        assert ended_s[-1] <= LEASE_S + 0.05

    virtual_time.run(main())
