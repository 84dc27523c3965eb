"""A network that fails for real: a sidecar on another host, and a link that loses packets.

The other tests cut wires of their own (`support/fault_wire.py`); here it is the kernel's TCP that
repeats itself and backs off.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest
import pytest_asyncio
from tests.support import fault_wire, namespaces
from tests.support.cluster import TERM_S, Cluster, cluster
from tests.support.namespaces import Host, PacketLoss
from tests.support.outcomes import in_time, soon, timely

from rescind import Allowed, Verifier
from rescind.core import lease
from rescind.core.verdict import Verdict

HERE, THERE = "here", "there"
WAIT_S = lease.wait_ns(round(TERM_S * 1000)) / 1e9
RECOVERY_S = 60.0
MISSING = namespaces.missing()

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(MISSING is not None, reason=MISSING or ""),
]


@pytest_asyncio.fixture
async def far() -> AsyncIterator[Host]:
    with namespaces.host() as made:
        yield made


@pytest_asyncio.fixture
async def installation(
    far: Host, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Cluster]:
    monkeypatch.setenv("DISTANT_SERVICE", THERE)
    monkeypatch.setenv("DISTANT_HOST", far.name)
    async with fault_wire.laid([THERE], seed=1, at=far.near) as wires:

        def route(service: str, url: str) -> str:
            return wires[THERE].through(url) if service == THERE else url

        async with cluster(
            tmp_path_factory.mktemp("cluster"),
            sidecar_module="tests.support.distant_sidecar",
            services=(HERE, THERE),
            route=route,
        ) as running:
            yield running


async def until(
    verifier: Verifier, token: str, wanted: Callable[[Verdict], bool], *, deadline_s: float
) -> None:
    ends = time.monotonic() + deadline_s
    while not wanted(verdict := await verifier.acheck(token)):
        in_time(ends, verdict)
        await asyncio.sleep(0.01)


def accepted(verdict: Verdict) -> bool:
    return isinstance(verdict, Allowed)


def denied_as(reason: str) -> Callable[[Verdict], bool]:
    return lambda verdict: not isinstance(verdict, Allowed) and verdict.reason == reason


@pytest.mark.parametrize("lost", PacketLoss, ids=str)
async def test_a_verifier_cut_off_by_the_network_accepts_no_revoked_token_after_the_receipt(
    installation: Cluster, far: Host, lost: PacketLoss
) -> None:
    here, there = (
        Verifier.attach(installation.socket(each), timeout_s=5) for each in (HERE, THERE)
    )
    assert there.shares_memory
    async with httpx2.AsyncClient(
        base_url=installation.authorities[0],
        headers=installation.admin,
        timeout=30,
        trust_env=False,
    ) as http:

        async def issue() -> tuple[str, str]:
            body = {"subject": "agent:far", "kind": "agent", "ttl": 600}
            issued = (await http.post("/v1/tokens", json=body)).json()
            for verifier in (here, there):
                await until(verifier, issued["token"], accepted, deadline_s=RECOVERY_S)
            return issued["token"], issued["token_id"]

        doomed, doomed_id = await issue()
        other, _ = await issue()
        far.cut(lost)
        began = time.monotonic()
        answer = await http.post(
            "/v1/revocations", json={"selector": [f"token:{doomed_id}"], "wait": True}
        )
        # The answer is here: from now on, and at once, no verifier accepts the token.
        verdicts = [verifier.check(doomed) for verifier in (here, there)]
        took_s = time.monotonic() - began
        assert not any(map(accepted, verdicts)), verdicts
        verdict = here.check(other)
        timely(accepted(verdict), verdict)
        outcomes = {
            each["service"]: each["outcome"] for each in answer.json()["receipt"]["verifiers"]
        }
        # A sidecar that is not told acknowledges nothing, and of one that is not heard the same
        # is known.
        assert outcomes[THERE] == "lapsed"
        timely(outcomes[HERE] == "acknowledged", outcomes)
        assert took_s + 0.05 >= WAIT_S
        soon(took_s, at_most_s=WAIT_S + 1)
        await until(there, other, denied_as("no_lease"), deadline_s=WAIT_S)
        far.heal()
        await until(there, other, accepted, deadline_s=RECOVERY_S)
        await until(there, doomed, denied_as("revoked"), deadline_s=RECOVERY_S)
    here.close()
    there.close()
    await asyncio.sleep(0)
