"""Rows `enforced` and `fleet`: the time from a revocation's request until all sidecars apply it.

`enforced` is measured on one and three real sidecars; in every other round, a verifier beside each
sidecar checks the token until it is denied. `fleet` is measured on a hundred and a thousand thin
sidecars (`thin_sidecars.py`). Both count acknowledgements as the authority does, and compare the
time with that of a commit to Postgres.
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
from rescind_lab.bench.comparison import Line, Measurement, Row, Statistic, Target
from rescind_lab.bench.samples import Samples, Unit
from rescind_lab.bench.system import SERVICES, BenchSystem
from rescind_lab.errors import LabError
from rescind_runtime import clock
from rescind_runtime.data_dir import write_private
from rescind_runtime.net import nats_connection

_FLEET = "rescind_lab.bench.processes.thin_sidecars"
_DEADLINE_S = 15.0
_POLL_S = 0.0002
_COMMIT = "a commit to Postgres"
_MAX_MS = {1: (6, 25), 3: None, 100: (25, 60), 1_000: (100, 250)}


@dataclass(slots=True)
class _RevocationTimes:
    """The times of one revocation (CLOCK_BOOTTIME in ns).

    `denied_ns` is by service, `acknowledged_ns` by instance.
    """

    requested_ns: int
    committed_ns: int = 0
    denied_ns: dict[str, int] = field(default_factory=dict[str, int])
    acknowledged_ns: dict[bytes, int] = field(default_factory=dict[bytes, int])


class AcknowledgementRecorder:
    """A recorder of when each sidecar acknowledges a revocation."""

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

    async def record(self, message: Msg) -> None:
        """Record when an acknowledgement arrived."""
        arrived_ns = clock.boottime_ns()
        ack = heartbeat.decode_ack(signed_envelope.decode(message.data).content)
        if ack.applied.seq >= self._seq:
            self._arrivals.setdefault(ack.instance, arrived_ns)
            if len(self._arrivals) == self._expected:
                self._all.set()

    async def wait_for_all(self) -> dict[bytes, int]:
        """Wait for all acknowledgements, and return the time of each. Raises LabError."""
        try:
            async with asyncio.timeout(_DEADLINE_S):
                await self._all.wait()
        except TimeoutError:
            raise LabError(
                f"{len(self._arrivals)} of {self._expected} sidecars acknowledged "
                f"in {_DEADLINE_S:g} s"
            ) from None
        return self._arrivals


@asynccontextmanager
async def _record_acknowledgements(bench: BenchSystem) -> AsyncGenerator[AcknowledgementRecorder]:
    async with nats_connection.connection(bench.system.nats, name="rescind-bench") as client:
        recorder = AcknowledgementRecorder(client)
        await nats_connection.subscribe(client, nats_subjects.ACK, recorder.record)
        await client.flush()
        yield recorder


async def _revoke(
    bench: BenchSystem,
    recorder: AcknowledgementRecorder,
    *,
    selector: str,
    sidecars: int,
    poll_denials: Callable[[], bool],
) -> _RevocationTimes:
    """Revoke once, and wait for all acknowledgements and denials.

    `poll_denials` returns True after every verifier has denied.
    """
    fleet = await bench.admin.fleet()
    seq = int(fleet["seq"]) + 1
    await recorder.request(epoch=int(fleet["epoch"]), seq=seq, sidecars=sidecars)
    times = _RevocationTimes(clock.boottime_ns())

    async def wait_for_denials() -> None:
        async with asyncio.timeout(_DEADLINE_S):
            while not poll_denials():  # noqa: ASYNC110 - another process's table has no event
                await asyncio.sleep(_POLL_S)

    async with asyncio.TaskGroup() as group:
        denials = group.create_task(wait_for_denials())
        answer = await bench.admin.revoke(selector, reason="the bench")
        answered_ns, answered_us = clock.boottime_ns(), clock.wall_us()
        times.acknowledged_ns = dict(await recorder.wait_for_all())
        await denials
    if int(answer["seq"]) != seq:
        raise LabError("another client revoked something in the bench's own system")
    committed_us = parse_rfc3339(answer["committed_at"])
    times.committed_ns = answered_ns - (answered_us - committed_us) * NS_PER_US
    return times


class _DenialPoll:
    """Checks of one token with the verifier beside each sidecar, until all deny it."""

    def __init__(self, verifiers: dict[str, Verifier], token: str) -> None:
        self._verifiers = dict(verifiers)
        self._token = token
        self.denied_ns: dict[str, int] = {}
        if any(isinstance(each.check(token), Denied) for each in verifiers.values()):
            raise LabError("a token was denied before it was revoked")

    def __call__(self) -> bool:
        for name, verifier in list(self._verifiers.items()):
            began_ns = clock.boottime_ns()
            if isinstance(verifier.check(self._token), Denied):
                self.denied_ns[name] = began_ns
                del self._verifiers[name]
        return not self._verifiers


async def measure_enforced(bench: BenchSystem) -> dict[str, Measurement]:
    """Revoke tokens one by one on real sidecars: on three, and then on one."""
    rounds = bench.choose(quick=5, full=80)
    measured: dict[str, Measurement] = {}
    async with _record_acknowledgements(bench) as recorder:
        for sidecars in (len(SERVICES), 1):
            bench.show_step(f"revoking on {_count_sidecars(sidecars)}")
            if sidecars == 1:
                await bench.stop_other_sidecars()
            measured |= await _measure_real_sidecars(
                bench, recorder, sidecars=sidecars, rounds=rounds
            )
    return measured


async def _measure_real_sidecars(
    bench: BenchSystem, recorder: AcknowledgementRecorder, *, sidecars: int, rounds: int
) -> dict[str, Measurement]:
    issued = await bench.issue_with_ids(2 * rounds)
    used = bench.system.sidecars[:sidecars]
    verifiers = {each.service: Verifier.attach(each.socket) for each in used}
    commits: list[float] = []
    acknowledged: list[_RevocationTimes] = []
    denied: list[_RevocationTimes] = []
    for turn, (token_id, token) in enumerate(issued.items()):
        # In turns: a look-up at the sidecar blocks this process, and would delay the
        # acknowledgements that this process records.
        poll = _DenialPoll(verifiers if turn % 2 else {}, token)
        times = await _revoke(
            bench, recorder, selector=f"token:{token_id}", sidecars=sidecars, poll_denials=poll
        )
        times.denied_ns = poll.denied_ns
        (denied if turn % 2 else acknowledged).append(times)
        commits.append(await _measure_commit_ms(bench))
    for verifier in verifiers.values():
        verifier.close()
    commit = Samples(Unit.MS, tuple(commits))
    return {
        f"enforced.{sidecars}": Measurement(_to_samples(acknowledged, _enforced_ns), commit),
        f"denied.{sidecars}": Measurement(_to_samples(denied, _denied_ns), commit),
        f"acknowledged.{sidecars}": Measurement(
            _to_samples(acknowledged, _acknowledged_ns), commit
        ),
    }


async def measure_fleet(bench: BenchSystem) -> dict[str, Measurement]:
    """Revoke with a fleet of thin sidecars that acknowledge."""
    await bench.stop_other_sidecars()
    measured: dict[str, Measurement] = {}
    parameters = write_private(
        bench.system.directory / "fleet", json.dumps({"nats": bench.system.nats})
    )
    for thin in (100, 1_000):
        bench.show_step(f"revoking with {thin:,} thin sidecars")
        async with (
            bench.run_process(_FLEET, str(parameters), str(thin - 1)),
            _record_acknowledgements(bench) as recorder,
        ):
            revocations, commits = list[_RevocationTimes](), list[float]()
            for number in range(bench.choose(quick=3, full=40)):
                selector = f"tree:tok_none-{thin}-{number}"
                revocations.append(
                    await _revoke(
                        bench, recorder, selector=selector, sidecars=thin, poll_denials=lambda: True
                    )
                )
                commits.append(await _measure_commit_ms(bench))
        commit = Samples(Unit.MS, tuple(commits))
        note = f"one real sidecar and {thin - 1} thin sidecars, each with its own connection"
        measured[f"enforced.{thin}"] = Measurement(
            _to_samples(revocations, _enforced_ns), commit, note
        )
        measured[f"acknowledged.{thin}"] = Measurement(
            _to_samples(revocations, _acknowledged_ns), commit, note
        )
    return measured


async def _measure_commit_ms(bench: BenchSystem) -> float:
    """Return the time to commit one row, which every durable answer needs, in milliseconds."""
    await bench.postgres.execute(
        "CREATE TABLE IF NOT EXISTS bench_commits (at timestamptz NOT NULL)"
    )
    began_ns = clock.monotonic_raw_ns()
    await bench.postgres.execute("INSERT INTO bench_commits VALUES (now())")
    return (clock.monotonic_raw_ns() - began_ns) / NS_PER_MS


def _enforced_ns(times: _RevocationTimes) -> int:
    return max(times.acknowledged_ns.values()) - times.requested_ns


def _acknowledged_ns(times: _RevocationTimes) -> int:
    return max(times.acknowledged_ns.values()) - times.committed_ns


def _denied_ns(times: _RevocationTimes) -> int:
    return max(times.denied_ns.values()) - times.committed_ns


def _to_samples(
    revocations: list[_RevocationTimes], duration_ns: Callable[[_RevocationTimes], int]
) -> Samples:
    return Samples(Unit.MS, tuple(duration_ns(each) / NS_PER_MS for each in revocations))


def _count_sidecars(sidecars: int) -> str:
    return f"{sidecars:,} sidecar{'s' if sidecars > 1 else ''}"


def _build_lines(sidecars: int) -> tuple[Line, ...]:
    fleet = _count_sidecars(sidecars)
    max_ms = _MAX_MS[sidecars]
    targets = (
        ()
        if max_ms is None
        else (
            Target(Statistic.P50, max_ms[0], at_least=False),
            Target(Statistic.P99, max_ms[1], at_least=False),
        )
    )
    lines = [
        Line(f"enforced.{sidecars}", f"request to last acknowledgement, {fleet}", _COMMIT, targets),
        Line(f"acknowledged.{sidecars}", f"commit to last acknowledgement, {fleet}", _COMMIT),
    ]
    if sidecars <= len(SERVICES):
        lines.append(Line(f"denied.{sidecars}", f"commit to last denial, {fleet}", _COMMIT))
    return tuple(lines)


ENFORCED = Row("enforced", (*_build_lines(1), *_build_lines(3)), measure_enforced)
FLEET = Row("fleet", (*_build_lines(100), *_build_lines(1_000)), measure_fleet)
