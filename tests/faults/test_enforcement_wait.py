"""`revoke` with `wait`, on a real installation: who acknowledges, who lapses, and who dies."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from tests.support.cluster import SERVICES, TERM_S, Cluster, cluster
from tests.support.outcomes import in_time, soon, timely
from tests.support.sidecar import accepted

from rescind import Allowed, Denied, Verifier
from rescind.core import lease

WAIT_S = lease.wait_ns(round(TERM_S * 1000)) / 1e9
LEASE_S = 0.9 * TERM_S

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def http(installation: Cluster) -> AsyncIterator[httpx2.AsyncClient]:
    await installation.heal()
    headers = installation.admin
    async with httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False) as client:
        await all_live(installation, client)
        yield client


async def all_live(installation: Cluster, http: httpx2.AsyncClient) -> None:
    """Wait until every service has a sidecar with a lease."""
    ends = time.monotonic() + 20
    while True:
        try:
            fleet = (await http.get(f"{installation.authorities[0]}/v1/fleet")).json()
        except httpx2.HTTPError:
            fleet = {"instances": []}
        live = {each["service"] for each in fleet["instances"] if each["state"] == "live"}
        if live == set(SERVICES):
            return
        in_time(ends, fleet)
        await asyncio.sleep(0.05)


async def issue(installation: Cluster, http: httpx2.AsyncClient) -> tuple[str, str]:
    body = {"subject": "agent:waited", "kind": "agent", "scopes": ["a"], "ttl": 600}
    answer = await http.post(f"{installation.authorities[0]}/v1/tokens", json=body)
    return answer.json()["token"], answer.json()["token_id"]


def revocation(token_id: str, **how: Any) -> dict[str, Any]:
    return {"selector": [f"token:{token_id}"], "wait": True, **how}


def reason(verdict: object) -> str | None:
    return verdict.reason if isinstance(verdict, Denied) else None


def enforced(answer: httpx2.Response, *, status: int) -> None:
    """Fail unless a revocation is enforced; raise LateError while it is only committed."""
    timely(answer.json().get("state") != "committed", answer.text)
    assert (answer.status_code, answer.json()["state"]) == (status, "enforced")


def by_service(receipt: dict[str, Any]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for each in receipt["verifiers"]:
        found.setdefault(each["service"], set()).add(each["outcome"])
    return found


async def test_the_answer_comes_when_every_sidecar_has_acknowledged(
    installation: Cluster, http: httpx2.AsyncClient
) -> None:
    token, token_id = await issue(installation, http)
    verifiers = [Verifier.attach(installation.socket(each), timeout_s=5) for each in SERVICES]
    for verifier in verifiers:
        await accepted(verifier, token)
    answer = await http.post(
        f"{installation.authorities[0]}/v1/revocations", json=revocation(token_id)
    )
    # The answer is here: from now on, and at once, no verifier accepts the token.
    verdicts = [verifier.check(token) for verifier in verifiers]
    assert all(isinstance(each, Denied) for each in verdicts), verdicts
    timely({reason(each) for each in verdicts} == {"revoked"}, verdicts)
    enforced(answer, status=201)
    outcomes = by_service(answer.json()["receipt"])
    timely(all("acknowledged" in outcomes[service] for service in SERVICES), outcomes)
    for verifier in verifiers:
        verifier.close()
    await asyncio.sleep(0)


async def test_a_frozen_sidecar_lapses_and_its_workload_denies_by_then(
    installation: Cluster, http: httpx2.AsyncClient
) -> None:
    token, token_id = await issue(installation, http)
    verifier = Verifier.attach(installation.socket("mail"), timeout_s=5)
    await accepted(verifier, token)
    installation.parts["mail"].freeze()
    try:
        began = time.monotonic()
        answer = await http.post(
            f"{installation.authorities[1]}/v1/revocations", json=revocation(token_id)
        )
        took_s = time.monotonic() - began
        # Its table still shows the token as good; its lease is what denies.
        verdict = verifier.check(token)
        assert isinstance(verdict, Denied)
        assert verdict.reason == "no_lease"
    finally:
        installation.parts["mail"].thaw()
        verifier.close()
    enforced(answer, status=201)
    assert "lapsed" in by_service(answer.json()["receipt"])["mail"]
    assert took_s + 0.05 >= WAIT_S
    soon(took_s, at_most_s=WAIT_S + 1)


async def test_a_wait_that_times_out_reports_its_progress(
    installation: Cluster, http: httpx2.AsyncClient
) -> None:
    _, token_id = await issue(installation, http)
    url = installation.authorities[0]
    installation.parts["search"].freeze()
    try:
        answer = await http.post(
            f"{url}/v1/revocations", json=revocation(token_id, timeout=0.4 * TERM_S)
        )
        assert (answer.status_code, answer.json()["state"]) == (202, "committed")
        progress = answer.json()["progress"]
        timely(progress["acknowledged"] >= 2, progress)
        assert 0 < progress["lapse_in_s"] <= WAIT_S
        later = await http.get(f"{url}/v1/revocations/{answer.json()['id']}/receipt")
        enforced(later, status=200)
    finally:
        installation.parts["search"].thaw()


async def test_another_authority_finishes_the_wait_of_one_that_died(
    installation: Cluster, http: httpx2.AsyncClient
) -> None:
    _, token_id = await issue(installation, http)
    one, two = installation.authorities
    installation.parts["billing"].freeze()
    try:
        headers = {"Idempotency-Key": f"wait-{token_id}"}
        asked = revocation(token_id, timeout=0.2)
        first = await http.post(f"{one}/v1/revocations", json=asked, headers=headers)
        assert first.json()["state"] == "committed"
        installation.parts["authority-1"].kill()
        found = await http.get(f"{two}/v1/revocations/{first.json()['id']}/receipt")
        enforced(found, status=200)
        # By its key the other one gives the same receipt, though it was asked to wait otherwise.
        again = await http.post(f"{two}/v1/revocations", json=revocation(token_id), headers=headers)
        assert again.json()["receipt"] == found.json()["receipt"]
    finally:
        installation.parts["billing"].thaw()


async def test_a_killed_sidecar_delays_one_receipt_and_not_the_next_one(
    installation: Cluster, http: httpx2.AsyncClient
) -> None:
    url = installation.authorities[1]
    installation.parts["mail"].kill()
    _, token_id = await issue(installation, http)
    answer = await http.post(f"{url}/v1/revocations", json=revocation(token_id))
    enforced(answer, status=201)
    _, token_id = await issue(installation, http)
    began = time.monotonic()
    answer = await http.post(f"{url}/v1/revocations", json=revocation(token_id))
    enforced(answer, status=201)
    # Its row was watched, unchanged, for a full wait.
    soon(time.monotonic() - began, at_most_s=WAIT_S / 2)


async def test_a_silent_verifier_in_grace_is_named_in_the_receipt_and_by_the_command(
    installation: Cluster, http: httpx2.AsyncClient
) -> None:
    mail = installation.parts["mail"]
    await mail.stop()
    installation.postures["mail"] = "grace:session=1m"
    try:
        await mail.start()
        await all_live(installation, http)
        body = {"subject": "user:7", "kind": "session", "scopes": ["a"], "ttl": 600}
        issued = (await http.post(f"{installation.authorities[1]}/v1/tokens", json=body)).json()
        with closing(Verifier.attach(installation.socket("mail"), timeout_s=5)) as verifier:
            await accepted(verifier, issued["token"])
            mail.freeze()
            status, said = await installation.cli("revoke", f"token:{issued['token_id']}", "--wait")
            assert status == 3
            assert "mail" in said
            assert "guarantee does not hold there" in said
            # That is what grace means: its workload goes on, past the lease and past the receipt.
            verdict = verifier.check(issued["token"])
            timely(isinstance(verdict, Allowed), verdict)
            mail.thaw()
            ends = time.monotonic() + 10
            while reason(await verifier.acheck(issued["token"])) != "revoked":
                in_time(ends, "it has not heard of the revocation")
                await asyncio.sleep(0.01)
    finally:
        mail.thaw()
        del installation.postures["mail"]
        await mail.stop()
        await mail.start()
