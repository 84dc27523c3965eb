"""Each proxy in front of a sidecar that cannot answer: no lease, frozen, gone."""

import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager

import pytest
import pytest_asyncio
from tests.support import processes
from tests.support.free_ports import free_port
from tests.support.outcomes import soon
from tests.support.proxies import programs, site
from tests.support.proxies.caller import Answer, Caller
from tests.support.proxies.programs import PROXIES, Proxy
from tests.support.proxies.site import Site
from tests.support.sidecar import wait_until

READ = ("search:read",)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def brief(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Run a sidecar whose lease ends soon after its authority is out of reach."""
    folder = tmp_path_factory.mktemp("brief")
    async with site.held(site.running(folder, term_ms=1_000)) as running:
        yield running


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    """Stop the workers of the sidecar (SIGSTOP) for the block."""
    for pid in pids:
        processes.stop(pid)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def assert_unavailable(answer: Answer) -> None:
    assert (answer.status, answer.reached) == (503, None)
    assert answer.header("retry-after") == "1"
    assert answer.header("cache-control") == "no-store"
    assert answer.header("www-authenticate") is None


def test_without_a_lease_a_call_is_told_to_try_again(brief: Site, proxy: Proxy) -> None:
    caller, good = brief.caller(proxy, faults=True), brief.link.issue(scopes=READ)
    wait_until(lambda: caller.call("/p", good).status == 200)
    unseen = brief.link.issue(scopes=READ)
    brief.link.reachable = False
    try:
        assert_unavailable(caller.call("/p", unseen))
        wait_until(lambda: not brief.sidecar.leased)
        for path in ("/p", "/any/p"):
            answer = caller.call(path, good)
            assert_unavailable(answer)
            reason = "no_lease" if proxy.keeps_the_reason_of_a_503 else "unavailable"
            assert answer.header("x-rescind-reason") == reason
        assert caller.call("/p").status == 401  # which the sidecar knows without a lease
        assert caller.call("/open/p").status == 200
    finally:
        brief.link.reachable = True
        wait_until(lambda: brief.sidecar.leased)
    wait_until(lambda: caller.call("/p", good).status == 200)


@pytest.mark.parametrize(
    "proxy", [each for each in PROXIES if each.without_answer_s], indirect=True
)
def test_a_frozen_sidecar_lets_no_call_through(behind: Site, proxy: Proxy) -> None:
    caller, good = behind.caller(proxy, faults=True), behind.link.issue(scopes=READ)
    assert caller.call("/p", good).status == 200
    assert proxy.without_answer_s is not None
    with frozen(behind.workers):
        began_s = time.monotonic()
        answer = caller.call("/p", good)
        soon(time.monotonic() - began_s, at_most_s=proxy.without_answer_s)
        assert_unavailable(answer)
        assert answer.header("x-rescind-reason") == "unavailable"
        assert caller.call("/open/p").status == 200
    wait_until(lambda: caller.call("/p", good).status == 200)


@pytest.mark.parametrize("proxy", [programs.TRAEFIK], indirect=True)
def test_traefik_waits_for_a_frozen_sidecar_and_then_answers(behind: Site, proxy: Proxy) -> None:
    """Its limit of 30 seconds cannot be configured: the caller's own limit ends the call."""
    caller, good = behind.caller(proxy, faults=True), behind.link.issue(scopes=READ)
    assert proxy.without_answer_s is None
    assert caller.call("/p", good).status == 200
    with ExitStack() as stack:
        with frozen(behind.workers):
            with caller.connected(deadline_s=1.5) as connection, pytest.raises(TimeoutError):
                caller.send(connection, "/p", good)
            waiting = stack.enter_context(caller.connected())
            waiting.request("GET", "/p", headers={"Authorization": f"Bearer {good}"})
            assert caller.call("/open/p").status == 200
        assert waiting.getresponse().status == 200


def test_without_a_sidecar_no_call_goes_through(
    behind: Site, proxy: Proxy, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("gone") / proxy.name
    ports = {**behind.ports, programs.SIDECAR: free_port(), programs.SIDECAR_GRPC: free_port()}
    good = behind.link.issue(scopes=READ)
    with programs.running(proxy, folder, ports=ports) as port:
        caller = Caller(port, behind.service, faults=True)
        began_s = time.monotonic()
        answer = caller.call("/p", good)
        soon(time.monotonic() - began_s, at_most_s=1.5)
        assert (answer.status, answer.reached) == (proxy.without_sidecar, None)
        if proxy.without_sidecar == 503:
            assert_unavailable(answer)
            assert answer.header("x-rescind-reason") == "unavailable"
        assert caller.call("/p").reached is None
        assert caller.call("/open/p").status == 200


def test_a_service_that_is_gone_is_not_reported_as_a_refusal(
    behind: Site, proxy: Proxy, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("no-service") / proxy.name
    ports = {**behind.ports, programs.SERVICE: free_port()}
    with programs.running(proxy, folder, ports=ports) as port:
        answer = Caller(port, behind.service, faults=True).call(
            "/p", behind.link.issue(scopes=READ)
        )
        assert answer.status in {502, 503}
        assert answer.header("x-rescind-reason") is None
