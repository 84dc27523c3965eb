"""The proof on real processes: sidecars, two authorities, and everything that can go wrong.

Clients check through the table, the socket and HTTP, people command, nemeses do their worst, and
one oracle with one clock judges it all. Two controls, which people build in practice, must fail.

RESCIND_PROOF_CYCLES makes it longer, RESCIND_PROOF_SIDECARS larger, and RESCIND_PROOF_SEED draws
another order of faults. With RESCIND_PROOF_LOAD=heavy it keeps both cores busy. For half an hour:
RESCIND_PROOF_CYCLES=400 RESCIND_PROOF_SIDECARS=8 RESCIND_PROOF_LOAD=heavy \
    pytest tests/faults/test_proof.py
"""

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx2
import nats
import pytest
from nats.aio.msg import Msg
from tests.support import failover, fault_wire
from tests.support.backup import Backup
from tests.support.cluster import TERM_S, Cluster, cluster
from tests.support.fault_wire import Fault, Wire
from tests.support.outcomes import in_time, raise_if_unsafe, soon
from tests.support.proof import nemeses
from tests.support.proof.actors import Actors
from tests.support.proof.clients import Attach, Client, by_http, by_socket, by_table, now_ns
from tests.support.proof.controls import pubsub_cached, ttl_cached
from tests.support.proof.oracle import Oracle

from rescind.core import instance_mac, lease, ledger
from rescind.wire import heartbeat, nats_subjects, signed_envelope
from rescind_runtime.crypto.signing import Keyring

SIDECARS = int(os.environ.get("RESCIND_PROOF_SIDECARS", "4"))
SERVICES = tuple(f"s{number}" for number in range(1, SIDECARS + 1))
BY_HTTP = SERVICES[2:4]
HEAVY = os.environ.get("RESCIND_PROOF_LOAD", "light") == "heavy"
DETECTORS_PAUSE_S, CLIENTS_PAUSE_S = (0.0, 0.005) if HEAVY else (2.0, 0.03)
QUIET_DETECTORS_PAUSE_S, QUIET_CLIENTS_PAUSE_S = (0.0, 0.005) if HEAVY else (0.5, 0.01)
"""Without a fault, the rest of the checks and revocations may follow each other sooner."""
CYCLES = int(os.environ.get("RESCIND_PROOF_CYCLES", "18"))
SEED = int(os.environ.get("RESCIND_PROOF_SEED", "20261125"))
CHECKS, REVOKES = 2_000 * CYCLES, 50 * CYCLES
QUIET_S = 300 + 3 * CYCLES
RECOVERY_S = float(os.environ.get("RESCIND_PROOF_RECOVERY_S", "60"))
BUSY_S = RECOVERY_S / 5
WAIT_NS = lease.wait_ns(round(TERM_S * 1000))

_READERS = 8

pytestmark = pytest.mark.timeout(600 + 30 * CYCLES)


@dataclass(frozen=True, slots=True)
class Scene:
    """A running installation, its clients, the actors that command it, and the oracle."""

    cluster: Cluster
    oracle: Oracle
    actors: Actors
    clients: list[Client]
    stage: nemeses.Stage
    tasks: asyncio.TaskGroup
    jobs: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])

    def work(self) -> None:
        """Let actors command, until they rest."""
        actors = self.actors
        self.jobs[:] = [
            self.tasks.create_task(job)
            for job in (
                *(actors.families() for _ in range(6)),
                *(actors.detect() for _ in range(6)),
                actors.hold(),
                actors.rotate(),
                _hear(self.cluster, self.oracle),
            )
        ]

    def hurry(self) -> None:
        """Let actors command and clients check more often from now on."""
        self.actors.pause_s = QUIET_DETECTORS_PAUSE_S
        for client in self.clients:
            client.pause_s = QUIET_CLIENTS_PAUSE_S

    async def rest(self) -> None:
        """Cancel all commands. Those under way never get an answer."""
        for job in self.jobs:
            job.cancel()
        await asyncio.wait(self.jobs)

    async def revoked_more(self, count: int) -> None:
        """Wait until so many more tokens were revoked."""
        wanted, ends = self.oracle.commands["revoke"] + count, time.monotonic() + RECOVERY_S
        while self.oracle.commands["revoke"] < wanted:
            in_time(ends, self.oracle.commands)
            await asyncio.sleep(0.02)

    async def recovered(self) -> None:
        """Wait until every client has had a good token accepted by a check that began later.

        A machine that has no time for all of it gets less to do then: the detectors pause.
        """
        since_ns, begun = time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.monotonic()
        try:
            while silent := {c.name for c in self.clients if c.last_good_ns < since_ns}:
                in_time(begun + RECOVERY_S, f"no good token is accepted by {silent}")
                if time.monotonic() > begun + BUSY_S:
                    self.actors.revoking.clear()
                await asyncio.sleep(0.02)
        finally:
            self.actors.revoking.set()


Cast = Callable[[Cluster, Mapping[str, Wire]], list[tuple[str, Attach]]]
"""Who checks: beside which service, and how."""


@asynccontextmanager
async def scene(
    folder: Path,
    cast: Cast,
    services: Sequence[str],
    *,
    control: bool = False,
    postgres_dsn: str | None = None,
) -> AsyncIterator[Scene]:
    """Run an installation. Raises UnsafeError at the end, however it ends, if it is no control."""
    async with (
        fault_wire.laid(services, seed=SEED) as wires,
        cluster(
            folder / "cluster",
            authority_module="tests.support.slow_grant_authority",
            services=services,
            by_http=BY_HTTP,
            route=lambda service, url: wires[service].through(url),
            postgres_dsn=postgres_dsn,
        ) as running,
        asyncio.TaskGroup() as tasks,
    ):
        oracle = Oracle(wait_ns=WAIT_NS)
        actors = Actors(running, oracle, pause_s=DETECTORS_PAUSE_S, seed=SEED)
        clients = [
            Client(
                service,
                attach,
                lambda: actors.pools,
                oracle,
                pause_s=CLIENTS_PAUSE_S,
                seed=SEED + number,
            )
            for number, (service, attach) in enumerate(cast(running, wires))
        ]
        stage = nemeses.Stage(running, oracle, wires, folder, random.Random(SEED))
        made = Scene(running, oracle, actors, clients, stage, tasks)
        made.work()
        for client in clients:
            client.start()
        try:
            yield made
        finally:
            for job in made.jobs:
                job.cancel()
            for client in clients:
                await asyncio.to_thread(client.stop)
            await actors.close()
            if not control:
                raise_if_unsafe(oracle.violations)


def all_attachments(running: Cluster, _wires: Mapping[str, Wire]) -> list[tuple[str, Attach]]:
    """Check beside each service through the table, and beside some by socket and HTTP too."""
    services = running.services
    sockets = {service: running.socket(service) for service in services}
    aliases = running.directory / "aliases"

    def url_of(service: str) -> Callable[[], str]:
        return lambda: running.urls[service]

    return [
        *((service, by_table(sockets[service])) for service in services),
        *((each, by_socket(sockets[each], aliases)) for each in services[:2]),
        *((each, by_http(url_of(each))) for each in services if each in BY_HTTP),
    ]


async def _hear(running: Cluster, oracle: Oracle) -> None:
    """Hear genuine acknowledgements: from each on, its sidecar must deny what it covers."""
    master = Keyring.read(running.directory / "keyring").master
    services: dict[bytes, str] = {}
    client = await nats.connect(running.nats_url, max_reconnect_attempts=-1)

    async def hear(message: Msg) -> None:
        try:
            envelope = signed_envelope.decode(message.data)
            ack = heartbeat.decode_ack(envelope.content)
        except ValueError:
            return
        except Exception:  # noqa: BLE001 - whatever mallory says is no acknowledgement
            return
        epoch = ack.applied.epoch
        secret = instance_mac.instance_secret(master, epoch=epoch, instance=envelope.key_id)
        if not instance_mac.genuine(
            secret, instance_mac.TO_AUTHORITY, envelope.content, envelope.signature
        ):
            return
        service = services.get(ack.instance)
        if service is not None:
            known = oracle.acknowledged.get(service, 0)
            oracle.acknowledged[service] = max(known, ack.applied.seq)

    try:
        await client.subscribe(nats_subjects.ACK, cb=hear)
        async with httpx2.AsyncClient(headers=running.admin, trust_env=False) as http:
            while True:
                for url in running.authorities:
                    try:
                        fleet = (await http.get(f"{url}/v1/fleet")).json()
                    except (httpx2.HTTPError, ValueError):
                        continue
                    for each in fleet.get("instances", ()):
                        services[bytes.fromhex(each["instance"])] = each["service"]
                await asyncio.sleep(0.3)
    finally:
        await client.close()


async def agreed(played: Scene) -> None:
    """I3: wait until every sidecar has applied all of the ledger, with the ledger's own head."""
    ends = time.monotonic() + RECOVERY_S
    url = f"{played.cluster.authorities[0]}/v1/fleet"
    async with httpx2.AsyncClient(headers=played.cluster.admin, trust_env=False) as http:
        while True:
            fleet = (await http.get(url)).json()
            live = [each for each in fleet["instances"] if each["state"] == "live"]
            applied = {each["service"]: each["acked_seq"] for each in live}
            if applied == dict.fromkeys(played.cluster.services, fleet["seq"]):
                return
            in_time(ends, (fleet["seq"], live))
            await asyncio.sleep(0.1)


async def taken_back(played: Scene, lost: Sequence[str]) -> None:
    """Wait until the ledger has every revocation again that was answered, and lost."""
    ends = time.monotonic() + RECOVERY_S
    url = f"{played.cluster.authorities[0]}/v1/tokens"
    async with httpx2.AsyncClient(headers=played.cluster.admin, trust_env=False) as http:
        for token_id in lost:
            while (found := (await http.get(f"{url}/{token_id}")).json())["state"] != "revoked":
                in_time(ends, found)
                await asyncio.sleep(0.05)


async def audited(played: Scene) -> None:
    """Look at what is left: the ledger's chain, and every revocation that was answered."""
    connection = await asyncpg.connect(played.cluster.urls["postgres"])
    try:
        rows = await connection.fetch("SELECT epoch, seq, payload, head FROM events ORDER BY seq")
        begun = await connection.fetch("SELECT epoch, base_seq FROM ledger_epochs ORDER BY epoch")
        revocations = {
            row["revocation_id"]: row["seq"]
            for row in await connection.fetch("SELECT revocation_id, seq FROM revocations")
        }
    finally:
        await connection.close()
    # I9, I12: dense, in order, and each head is that of the one before and the payload.
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    position = ledger.genesis(begun[0]["epoch"])
    later = {each["base_seq"]: each["epoch"] for each in begun[1:]}
    for row in rows:
        if epoch := later.get(position.seq):
            position = ledger.begin_epoch(position, epoch=epoch)
        position = position.after(row["payload"])
        assert position.epoch == row["epoch"]
        assert position.head == row["head"]
    # I4: whatever was answered is there, at its place.
    assert played.actors.revocations.items() <= revocations.items()


async def test_no_fault_lets_a_verifier_accept_what_it_must_deny(tmp_path: Path) -> None:
    order = [*nemeses.CYCLE]
    async with scene(tmp_path, all_attachments, SERVICES) as played:
        await played.recovered()
        for cycle in range(CYCLES):
            if cycle % len(order) == 0 and cycle:
                played.stage.random_source.shuffle(order)
            name = order[cycle % len(order)]
            print(f"{cycle + 1}: {name}")  # noqa: T201 - pytest shows it with a failure
            await nemeses.CYCLE[name](played.stage)
            await played.cluster.heal()
            await played.recovered()
            raise_if_unsafe(played.oracle.violations)
            assert played.cluster.crashes() == []
        oracle, actors = played.oracle, played.actors
        played.hurry()
        quiet_ns, rested_s, ends = now_ns(), time.monotonic() + 10, time.monotonic() + QUIET_S
        while time.monotonic() < rested_s or (
            (oracle.checks.total() < CHECKS or oracle.commands["revoke"] < REVOKES)
            and time.monotonic() < ends
        ):
            await asyncio.sleep(0.2)  # a quiet end, until there was enough of both
        await played.rest()
        # I10: with nothing in its way, a wait ends when the last lease of a dead sidecar may have.
        waits_ns = [
            each.enforced_ns - each.asked_ns
            for each in actors.waited
            if each.enforced_ns is not None and each.asked_ns > quiet_ns
        ]
        assert waits_ns
        soon(max(waits_ns) / 1e9, at_most_s=WAIT_NS / 1e9 + 1)
        print(*map(dict, (oracle.checks, oracle.commands, oracle.denied_good)))  # noqa: T201
        await agreed(played)
        await audited(played)
    raise_if_unsafe(oracle.violations)
    assert oracle.checks.total() >= CHECKS
    assert oracle.commands["revoke"] >= REVOKES


async def test_a_restored_ledger_keeps_its_promises_once_what_it_lost_is_back(
    tmp_path: Path,
) -> None:
    def cast(running: Cluster, _wires: Mapping[str, Wire]) -> list[tuple[str, Attach]]:
        return [(service, by_table(running.socket(service))) for service in SERVICES[:3]]

    async with scene(tmp_path, cast, SERVICES[:3]) as played:
        running, oracle, actors = played.cluster, played.oracle, played.actors
        await played.revoked_more(100)
        await played.rest()
        backup = Backup(running, tmp_path)
        await backup.make()
        kept = frozenset(actors.tokens)
        played.work()
        # Few enough that tokens of the backup are left: the clients will have no others.
        await played.revoked_more(50)
        await played.rest()
        await played.recovered()
        # The runbook: stop the authorities, restore, one lease term, a new epoch, start them.
        for name in nemeses.AUTHORITIES:
            await running.parts[name].stop()
        await backup.restore()
        await asyncio.sleep(TERM_S)
        raise_if_unsafe(oracle.violations)
        status, said = await running.cli("ledger", "new-epoch", "--yes", "--json")
        assert status == 0, said
        last = json.loads(said)["seq"]
        actors.lose(kept=kept, seq=last)
        for name in nemeses.AUTHORITIES:
            await running.parts[name].start()
        # What the ledger lost may be accepted until the sidecars have brought it back.
        await played.recovered()
        lost = [
            each.token_id
            for each in actors.tokens
            if each in kept and each.revocation and (each.revocation.seq or 0) > last
        ]
        assert lost
        await taken_back(played, lost)
        oracle.violations.clear()
        played.work()
        await played.revoked_more(100)
        await played.recovered()
        await played.rest()
        await agreed(played)
        await audited(played)
    raise_if_unsafe(oracle.violations)


async def test_no_failover_of_postgres_lets_a_verifier_accept_what_it_must_deny(
    tmp_path: Path,
) -> None:
    """Fail over and back under full traffic, while the old primary goes on answering reads."""
    async with (
        failover.running(tmp_path / "pair") as servers,
        scene(tmp_path, all_attachments, SERVICES[:3], postgres_dsn=servers.pair.dsn) as played,
    ):
        await played.recovered()
        # What is new on the new primary is not found on the old one.
        played.actors.repeated |= {httpx2.codes.NOT_FOUND}
        reading = (played.actors.read() for _ in range(_READERS))
        played.jobs.extend(map(played.tasks.create_task, reading))
        for restart in (False, True):
            async with nemeses.failing_over(played.stage, servers, played.actors, restart=restart):
                await played.recovered()
            await played.revoked_more(50)
            await played.recovered()
            raise_if_unsafe(played.oracle.violations)
            assert played.cluster.crashes() == []
        await played.rest()
        oracle = played.oracle
        print(*map(dict, (oracle.checks, oracle.commands, oracle.denied_good)))  # noqa: T201
        await agreed(played)
        await audited(played)
        assert played.cluster.crashes() == []
    raise_if_unsafe(oracle.violations)


@pytest.mark.parametrize("control", ["a cache with a time to live", "a pub/sub cache"])
async def test_the_oracle_catches_designs_that_are_common_in_practice(
    tmp_path: Path, control: str
) -> None:
    def cast(running: Cluster, wires: Mapping[str, Wire]) -> list[tuple[str, Attach]]:
        attach = by_table(running.socket("s1"))
        if control == "a pub/sub cache":
            nats_url = wires["s1"].through(running.nats_url)
            return [("s1", pubsub_cached(attach, nats_url=nats_url))]
        return [("s1", ttl_cached(attach, ttl_s=3 * TERM_S))]

    async with scene(tmp_path, cast, SERVICES[:2], control=True) as played:
        ends = time.monotonic() + 60
        while not any("I1 " in each for each in played.oracle.violations):
            in_time(ends, played.oracle.commands)
            await played.recovered()
            await played.rest()
            await asyncio.sleep(TERM_S)  # nothing is said, and it remembers what it checks
            played.work()
            await nemeses.wired(Fault.CUT, 2.5)(played.stage)
    assert "I1 s1: " in "".join(played.oracle.violations)
