"""Postgres is restored from a backup: what is lost, who notices, and what comes back (design 4)."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from tests.support.backup import Backup
from tests.support.cluster import SERVICES, TERM_S, Cluster, cluster
from tests.support.eventually import eventually
from tests.support.outcomes import raise_if_unsafe, soon

from rescind import Allowed, Denied, UnreachableError, Verifier
from rescind.core import lease
from rescind.wire.heartbeat import MAX_TRAIL

AUTHORITIES = ("authority-1", "authority-2")
WAIT_S = lease.wait_ns(round(TERM_S * 1000)) / 1e9

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]


@pytest_asyncio.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path / "cluster") as running:
        yield running


@pytest_asyncio.fixture
async def http(installation: Cluster) -> AsyncIterator[httpx2.AsyncClient]:
    url, headers = installation.authorities[0], installation.admin
    async with httpx2.AsyncClient(
        base_url=url, headers=headers, timeout=30, trust_env=False
    ) as client:
        yield client


async def issue(http: httpx2.AsyncClient, subject: str) -> str:
    body = {"subject": subject, "kind": "agent", "scopes": ["a"], "ttl": 600}
    return str((await http.post("/v1/tokens", json=body)).json()["token"])


async def revoke(http: httpx2.AsyncClient, subject: str) -> dict[str, Any]:
    body = {"selector": [f"subject:{subject}"], "wait": True, "reason": "it went rogue"}
    answer = await http.post("/v1/revocations", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def seen(installation: Cluster, token: str) -> list[str]:
    """Say what every service answers about a token now, from an attachment of its own."""
    found: list[str] = []
    for service in SERVICES:
        try:
            verifier = Verifier.attach(installation.socket(service), timeout_s=2)
        except UnreachableError:
            found.append("unreachable")
            continue
        match await verifier.acheck(token):
            case Allowed():
                found.append("accepted")
            case Denied(reason):
                found.append(str(reason))
        verifier.close()
    await asyncio.sleep(0)
    return found


async def everywhere(installation: Cluster, token: str, answer: str) -> None:
    async def holds() -> bool:
        return await seen(installation, token) == [answer] * len(SERVICES)

    await eventually(holds, deadline_s=30)


async def test_after_a_restore_a_new_epoch_recovers_lost_revocations(
    installation: Cluster, http: httpx2.AsyncClient, tmp_path: Path
) -> None:
    backup = Backup(installation, tmp_path)
    kept, lost = await issue(http, "agent:kept"), await issue(http, "agent:lost")
    gone = await issue(http, "agent:gone")
    before = await revoke(http, "agent:gone")
    for token in (kept, lost):
        await everywhere(installation, token, "accepted")

    await backup.make()
    await everywhere(installation, lost, "accepted")
    forgotten = await revoke(http, "agent:lost")
    raise_if_unsafe([each for each in await seen(installation, lost) if each == "accepted"])
    await everywhere(installation, lost, "revoked")

    for name in AUTHORITIES:
        await installation.parts[name].stop()
    await backup.restore()
    status, said = await installation.cli("ledger", "new-epoch", "--yes", "--json")
    assert status == 0, said
    begun = json.loads(said)
    assert begun["epoch"] > begun["previous"] == 1
    assert begun["seq"] == before["seq"]
    for name in AUTHORITIES:
        await installation.parts[name].start()

    await everywhere(installation, lost, "revoked")
    await everywhere(installation, kept, "accepted")
    await everywhere(installation, gone, "revoked")
    taken = (await http.get("/v1/revocations")).json()["revocations"][0]
    assert taken["actor"] == "rescind:salvage"
    assert forgotten["id"] in taken["reason"]
    assert taken["seq"] == begun["seq"] + 1  # once, though three sidecars offered it
    old = await http.get(f"/v1/revocations/{before['id']}/receipt")
    assert old.json()["receipt"]["epoch"] == 1

    status, said = await installation.cli("ledger", "show", "--json")
    assert [each["epoch"] for each in json.loads(said)["epochs"]] == [1, begun["epoch"]]


async def test_the_first_receipts_of_an_epoch_wait_for_every_lease_of_the_previous_one(
    installation: Cluster, http: httpx2.AsyncClient
) -> None:
    token = await issue(http, "agent:a")
    await everywhere(installation, token, "accepted")
    assert (await installation.cli("ledger", "new-epoch", "--yes"))[0] == 0
    began = time.monotonic()

    async def noticed() -> bool:
        standing = (await http.get("/v1/fleet")).json()
        return bool(standing["epoch"] > 1)

    await eventually(noticed, deadline_s=30)
    await everywhere(installation, token, "accepted")  # running authorities and sidecars went on
    done = await revoke(http, "agent:a")
    assert done["receipt"]["epoch"] > 1
    assert time.monotonic() - began >= WAIT_S
    again = time.monotonic()
    await revoke(http, "agent:b")
    soon(time.monotonic() - again, at_most_s=WAIT_S / 2)


async def backed_up(
    installation: Cluster, http: httpx2.AsyncClient, tmp_path: Path
) -> tuple[Backup, str]:
    """Make a backup in which a token of agent:x is good, and return both."""
    backup = Backup(installation, tmp_path)
    token = await issue(http, "agent:x")
    await everywhere(installation, token, "accepted")
    await backup.make()
    await everywhere(installation, token, "accepted")
    return backup, token


async def test_a_restore_without_a_new_epoch_ends_every_lease(
    installation: Cluster, http: httpx2.AsyncClient, tmp_path: Path
) -> None:
    backup, token = await backed_up(installation, http, tmp_path)
    await revoke(http, "agent:x")
    await backup.restore()

    await eventually(
        lambda: alarmed(installation, "rescind_authority_ledger_forged"), deadline_s=30
    )
    await everywhere(installation, token, "no_lease")
    refused = await http.post("/v1/revocations", json={"selector": ["tenant:t"]})
    assert refused.status_code == 503
    assert "changed-postgres.md" in refused.text

    # The operator begins the epoch, and the revocation that was lost comes back.
    assert (await installation.cli("ledger", "new-epoch", "--yes"))[0] == 0
    await everywhere(installation, token, "revoked")


async def test_if_the_ledger_index_is_lost_too_the_sidecars_detect_a_restore(
    installation: Cluster, http: httpx2.AsyncClient, tmp_path: Path
) -> None:
    backup, token = await backed_up(installation, http, tmp_path)
    with closing(Verifier.attach(installation.socket("search"), timeout_s=2)) as verifier:
        instance = verifier._connection.instance
        lost = await revoke(http, "agent:x")
        await older_than_all_nonces(installation)
        for name in AUTHORITIES:
            await installation.parts[name].stop()
        await backup.restore()
        for file in installation.directory.glob("ledger-index*"):
            file.unlink()
        assert (await installation.cli("ledger", "accept", "--yes"))[0] == 0
        for name in AUTHORITIES:
            await installation.parts[name].start()

        await eventually(
            lambda: alarmed(installation, "rescind_authority_ledger_set_back_total"), deadline_s=30
        )

        async def new_instance() -> bool:
            await verifier.acheck(token)
            return verifier._connection.instance != instance

        await eventually(new_instance, deadline_s=30)

    # Meanwhile another event takes the place of the one that was lost.
    other = (await http.post("/v1/revocations", json={"selector": ["tenant:t"]})).json()
    assert other["seq"] == lost["seq"]
    # The operator is told, begins the epoch, and the revocation that was lost comes back.
    assert (await installation.cli("ledger", "new-epoch", "--yes"))[0] == 0
    await everywhere(installation, token, "revoked")


async def older_than_all_nonces(installation: Cluster) -> None:
    """Wait until no heartbeat names the nonce that a backup of before has as the newest."""
    before = await heartbeats(installation)

    async def passed() -> bool:
        now = await heartbeats(installation)
        return all(now[each] - before[each] > MAX_TRAIL for each in SERVICES)

    await eventually(passed, deadline_s=60)


async def heartbeats(installation: Cluster) -> dict[str, float]:
    """Return how many heartbeats of each service's sidecar were answered."""
    async with httpx2.AsyncClient(timeout=5, trust_env=False) as client:
        answers = {
            each: await client.get(f"{installation.urls[each]}/metrics") for each in SERVICES
        }
    return {
        each: float(line.split()[1])
        for each, answer in answers.items()
        for line in answer.text.splitlines()
        if line.startswith("rescind_sidecar_heartbeats_total ")
    }


async def alarmed(installation: Cluster, metric: str) -> bool:
    """Return True once an authority counts or shows something by this metric."""
    async with httpx2.AsyncClient(timeout=5, trust_env=False) as client:
        answers = [await client.get(f"{url}/metrics") for url in installation.authorities]
    return any(
        line.startswith(f"{metric} ") and not line.endswith(" 0.0")
        for answer in answers
        for line in answer.text.splitlines()
    )
