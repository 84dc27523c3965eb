"""Rows `enforced` and `fleet`: from a revocation's request to the last sidecar that shows it.

`enforced` is measured on one and three real sidecars; in every other round, a verifier beside each
checks until it is denied. `fleet` is measured on a hundred and a thousand thin sidecars
(`thin_sidecars.py`). Both count the acknowledgements that a waiter in the authority would count,
and compare the time with a commit to Postgres.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from nats.aio.client import Client
from nats.aio.msg import Msg

from rescind import Verifier
from rescind.core.times import NS_PER_MS, NS_PER_US, parse_rfc3339
from rescind.core.verdict import Denied
from rescind.wire import heartbeat, nats_subjects, signed_envelope
from rescind_lab.bench.comparison import Line, Measured, Row, Statistic, Target
from rescind_lab.bench.environment import SERVICES, BenchStage
from rescind_lab.bench.samples import Samples, Unit
from rescind_lab.errors import SceneError
from rescind_runtime import clock
from rescind_runtime.data_dir import write_private
from rescind_runtime.net import nats_connection

_FLEET = "rescind_lab.bench.processes.thin_sidecars"
_DEADLINE_S = 15.0
_POLL_S = 0.0002
_COMMIT = "a commit to Postgres"
_MOST_MS = {1: (6, 25), 3: None, 100: (25, 60), 1_000: (100, 250)}


@dataclass(slots=True)
class _Revoked:
    """The times of one revocation: CLOCK_BOOTTIME in ns; acknowledgements by instance."""

    requested_ns: int
    committed_ns: int = 0
    denied_ns: dict[str, int] = field(default_factory=dict[str, int])
    acknowledged_ns: dict[bytes, int] = field(default_factory=dict[bytes, int])


class Waiter:
    """A recorder of acknowledgements, like a waiter in the authority."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._arrivals: dict[bytes, int] = {}
        self._seq = 0
        self._expected = 0
        self._all = asyncio.Event()

    async def request(self, *, epoch: int, seq: int, sidecars: int) -> None:
        """Request an acknowledgement of `seq` from every sidecar.

        A sidecar sends it as soon as it has applied `seq`.
        """
        self._arrivals, self._seq, self._expected = {}, seq, sidecars
        self._all.clear()
        wanted = heartbeat.AckRequest(epoch, seq)
        await self._client.publish(nats_subjects.WANTED, heartbeat.encode_ack_request(wanted))
        await self._client.flush()

    async def note(self, message: Msg) -> None:
        """Count an acknowledgement."""
        arrived_ns = clock.boottime_ns()
        ack = heartbeat.decode_ack(signed_envelope.decode(message.data).content)
        if ack.applied.seq >= self._seq:
            self._arrivals.setdefault(ack.instance, arrived_ns)
            if len(self._arrivals) == self._expected:
                self._all.set()

    async def all(self) -> dict[bytes, int]:
        """Wait for all acknowledgements, and return the time of each. Raises SceneError."""
        try:
            async with asyncio.timeout(_DEADLINE_S):
                await self._all.wait()
        except TimeoutError:
            raise SceneError(
                f"{len(self._arrivals)} of {self._expected} sidecars acknowledged "
                f"in {_DEADLINE_S:g} s"
            ) from None
        return self._arrivals


@asynccontextmanager
async def _waiting(stage: BenchStage) -> AsyncGenerator[Waiter]:
    async with nats_connection.connection(stage.system.nats, name="rescind-bench") as client:
        waiter = Waiter(client)
        await nats_connection.subscribe(client, nats_subjects.ACK, waiter.note)
        await client.flush()
        yield waiter


async def _revoke(
    stage: BenchStage, waiter: Waiter, *, selector: str, sidecars: int, watch: Callable[[], bool]
) -> _Revoked:
    """Revoke once, and wait for all acknowledgements and denials.

    Every sidecar acknowledges. `watch` returns True when it has seen every verifier deny.
    """
    fleet = await stage.admin.fleet()
    seq = int(fleet["seq"]) + 1
    await waiter.request(epoch=int(fleet["epoch"]), seq=seq, sidecars=sidecars)
    revoked = _Revoked(clock.boottime_ns())

    async def deny() -> None:
        async with asyncio.timeout(_DEADLINE_S):
            while not watch():  # noqa: ASYNC110 - another process's table has no event
                await asyncio.sleep(_POLL_S)

    async with asyncio.TaskGroup() as group:
        denying = group.create_task(deny())
        answer = await stage.admin.revoke(selector, reason="the bench")
        answered_ns, answered_us = clock.boottime_ns(), clock.wall_us()
        revoked.acknowledged_ns = dict(await waiter.all())
        await denying
    if int(answer["seq"]) != seq:
        raise SceneError("another client revoked something in the bench's own system")
    committed_us = parse_rfc3339(answer["committed_at"])
    revoked.committed_ns = answered_ns - (answered_us - committed_us) * NS_PER_US
    return revoked


class _Watch:
    """Check one token with the verifier beside each sidecar until all deny it."""

    def __init__(self, verifiers: dict[str, Verifier], token: str) -> None:
        self._verifiers = dict(verifiers)
        self._token = token
        self.denied_ns: dict[str, int] = {}
        if any(isinstance(each.check(token), Denied) for each in verifiers.values()):
            raise SceneError("a token was denied before it was revoked")

    def __call__(self) -> bool:
        for name, verifier in list(self._verifiers.items()):
            began_ns = clock.boottime_ns()
            if isinstance(verifier.check(self._token), Denied):
                self.denied_ns[name] = began_ns
                del self._verifiers[name]
        return not self._verifiers


async def measure_enforced(stage: BenchStage) -> dict[str, Measured]:
    """Revoke tokens one by one on real sidecars: on three, and then on one alone."""
    rounds = stage.choose(quick=5, full=80)
    measured: dict[str, Measured] = {}
    async with _waiting(stage) as waiter:
        for sidecars in (len(SERVICES), 1):
            stage.show_step(
                f"revoking on {sidecars} sidecars" if sidecars > 1 else "revoking on one"
            )
            if sidecars == 1:
                await stage.leave_one()
            measured |= await _measure_real_sidecars(
                stage, waiter, sidecars=sidecars, rounds=rounds
            )
    return measured


async def _measure_real_sidecars(
    stage: BenchStage, waiter: Waiter, *, sidecars: int, rounds: int
) -> dict[str, Measured]:
    issued = await stage.issue_with_ids(2 * rounds)
    used = stage.system.sidecars[:sidecars]
    verifiers = {each.service: Verifier.attach(each.socket) for each in used}
    commits: list[float] = []
    seen: list[_Revoked] = []
    denied: list[_Revoked] = []
    for turn, (token_id, token) in enumerate(issued.items()):
        # In turns: a check that has to ask its sidecar blocks this process, and so delays the
        # acknowledgement that it waits for.
        watch = _Watch(verifiers if turn % 2 else {}, token)
        revoked = await _revoke(
            stage, waiter, selector=f"token:{token_id}", sidecars=sidecars, watch=watch
        )
        revoked.denied_ns = watch.denied_ns
        (denied if turn % 2 else seen).append(revoked)
        commits.append(await _commit_ms(stage))
    for verifier in verifiers.values():
        verifier.close()
    beside = Samples(Unit.MS, tuple(commits))
    return {
        f"enforced.{sidecars}": Measured(_ms(seen, _enforced), beside),
        f"denied.{sidecars}": Measured(_ms(denied, _denied), beside),
        f"acknowledged.{sidecars}": Measured(_ms(seen, _acknowledged), beside),
    }


async def measure_fleet(stage: BenchStage) -> dict[str, Measured]:
    """Revoke with a fleet of thin sidecars that acknowledge."""
    await stage.leave_one()
    measured: dict[str, Measured] = {}
    parameters = write_private(
        stage.system.directory / "fleet", json.dumps({"nats": stage.system.nats})
    )
    for thin in (100, 1_000):
        stage.show_step(f"revoking with {thin:,} thin sidecars")
        async with (
            stage.process(_FLEET, str(parameters), str(thin - 1)),
            _waiting(stage) as waiter,
        ):
            seen, commits = list[_Revoked](), list[float]()
            for number in range(stage.choose(quick=3, full=40)):
                selector = f"tree:tok_nobody-{thin}-{number}"
                seen.append(
                    await _revoke(
                        stage, waiter, selector=selector, sidecars=thin, watch=lambda: True
                    )
                )
                commits.append(await _commit_ms(stage))
        beside = Samples(Unit.MS, tuple(commits))
        note = f"one real sidecar and {thin - 1} thin ones, each with a connection of its own"
        measured[f"enforced.{thin}"] = Measured(_ms(seen, _enforced), beside, note)
        measured[f"acknowledged.{thin}"] = Measured(_ms(seen, _acknowledged), beside, note)
    return measured


async def _commit_ms(stage: BenchStage) -> float:
    """Return the time to commit one row: the cost here of any answer that survives a crash."""
    await stage.postgres.execute(
        "CREATE TABLE IF NOT EXISTS bench_commits (at timestamptz NOT NULL)"
    )
    began_ns = clock.monotonic_raw_ns()
    await stage.postgres.execute("INSERT INTO bench_commits VALUES (now())")
    return (clock.monotonic_raw_ns() - began_ns) / NS_PER_MS


def _enforced(revoked: _Revoked) -> int:
    return max(revoked.acknowledged_ns.values()) - revoked.requested_ns


def _acknowledged(revoked: _Revoked) -> int:
    return max(revoked.acknowledged_ns.values()) - revoked.committed_ns


def _denied(revoked: _Revoked) -> int:
    return max(revoked.denied_ns.values()) - revoked.committed_ns


def _ms(seen: list[_Revoked], span: Callable[[_Revoked], int]) -> Samples:
    return Samples(Unit.MS, tuple(span(each) / NS_PER_MS for each in seen))


def _lines(sidecars: int) -> tuple[Line, ...]:
    many = f"{sidecars:,} sidecar{'s' if sidecars > 1 else ''}"
    most_ms = _MOST_MS[sidecars]
    targets = (
        ()
        if most_ms is None
        else (
            Target(Statistic.P50, most_ms[0], at_least=False),
            Target(Statistic.P99, most_ms[1], at_least=False),
        )
    )
    lines = [
        Line(f"enforced.{sidecars}", f"asked to acknowledged by all, {many}", _COMMIT, targets),
        Line(f"acknowledged.{sidecars}", f"commit to acknowledged by all, {many}", _COMMIT),
    ]
    if sidecars <= len(SERVICES):
        lines.append(Line(f"denied.{sidecars}", f"commit to denied by all, {many}", _COMMIT))
    return tuple(lines)


ENFORCED = Row("enforced", (*_lines(1), *_lines(3)), measure_enforced)
FLEET = Row("fleet", (*_lines(100), *_lines(1_000)), measure_fleet)
