"""Envoy's ext_authz over gRPC, where it differs from other proxies: its routes and its health."""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from tests.support.eventually import eventually
from tests.support.proxies import programs
from tests.support.proxies.caller import Caller
from tests.support.proxies.programs import ENVOY_GRPC
from tests.support.proxies.site import Site
from tests.support.sidecar import wait_until

READ = ("search:read",)
SHIPPED = (programs.SHIPPED / "envoy-grpc.yaml").read_text(encoding="utf-8")
REQUIRED = 'context_extensions: {require: "search:read"}'

Run = Callable[[str], AbstractContextManager[Caller]]


@pytest.fixture(autouse=True)
def _installed() -> None:
    if ENVOY_GRPC.find() is None:
        pytest.skip("envoy is not installed: see .ci/run")


@pytest.fixture
def run(behind: Site, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a function that runs Envoy with another configuration than the shipped one."""

    @contextmanager
    def start(configuration: str) -> Iterator[Caller]:
        assert configuration != SHIPPED
        files = {"envoy-grpc.yaml": configuration}
        folder = tmp_path_factory.mktemp("grpc") / "envoy"
        with programs.running_files(ENVOY_GRPC, folder, files=files, ports=behind.ports) as port:
            yield Caller(port, behind.service, faults=True)

    return start


@pytest.mark.parametrize(
    "extensions",
    ['{requires: "search:read"}', '{require: ""}', '{require: "a,b"}', "{audience: mail}"],
)
def test_a_route_that_cannot_be_used_lets_no_call_through(
    run: Run, behind: Site, extensions: str
) -> None:
    wrong = SHIPPED.replace(REQUIRED, f"context_extensions: {extensions}")
    with run(wrong) as caller:
        answer = caller.call("/p", behind.link.issue(scopes=("*",)))
        assert (answer.status, answer.reached) == (500, None)
        assert answer.header("content-type") == "application/problem+json"
        assert json.loads(answer.body)["type"] == "urn:rescind:problem:invalid-route"
        assert caller.call("/any/p", behind.link.issue()).status == 200


def test_a_route_requires_each_of_its_scopes_and_its_audience(run: Run, behind: Site) -> None:
    more = '{require: "search:read search:list", audience: search}'
    with run(SHIPPED.replace(REQUIRED, f"context_extensions: {more}")) as caller:
        assert caller.call("/p", behind.link.issue(scopes=("search:*",))).status == 200
        answer = caller.call("/p", behind.link.issue(scopes=READ))
        assert (answer.status, answer.reached) == (403, None)
        assert answer.header("www-authenticate") == (
            'Bearer error="insufficient_scope", scope="search:list search:read"'
        )


def test_the_sidecar_removes_made_up_headers_where_envoy_does_not(run: Run, behind: Site) -> None:
    begin = SHIPPED.index("          early_header_mutation_extensions")
    end = SHIPPED.index("          # If the sidecar does not answer")
    bare = SHIPPED[:begin] + SHIPPED[end:]
    with run(bare.replace("headers_with_underscores_action: DROP_HEADER", "")) as caller:
        made_up = [
            (name, "made-up")
            for name in (
                *("X-Rescind-Subject", "X_Rescind_Subject", "X-Rescind_Subject"),
                *("X-Rescind-Chain", "X_Rescind_Chain", "X-Rescind-Scopes-Removed"),
                *("X-Rescind-Other", "X_Rescind_Other", "X.Rescind.Subject", "x-rescind_as-of"),
            )
        ]
        answer = caller.call("/p", behind.link.issue("agent:true", scopes=READ), headers=made_up)
        assert answer.reached is not None
        found = answer.reached.like("x-rescind")
        assert found["x-rescind-subject"] == ["agent:true"]
        assert [name for name, texts in found.items() if "made-up" in texts] == []
        through = caller.call("/open/p", headers=made_up)  # which the sidecar does not see
        assert through.reached is not None
        assert "made-up" in through.reached.like("x-rescind")["x-rescind-subject"]


def test_without_raw_headers_two_tokens_are_not_one(run: Run, behind: Site) -> None:
    with run(SHIPPED.replace("encode_raw_headers: true", "")) as caller:
        good, other = (behind.link.issue(scopes=READ) for _ in range(2))
        assert caller.call("/p", good).status == 200
        answer = caller.call("/p", good, headers=[("Authorization", f"Bearer {other}")])
        assert (answer.status, answer.reached) == (401, None)


def test_the_sidecar_is_healthy_for_envoy(run: Run, behind: Site) -> None:
    """With a panic threshold of 0, Envoy asks only a sidecar whose health it has seen."""
    cluster = "  - name: rescind\n"
    checked = (
        "    health_checks: [{timeout: 1s, interval: 1s, unhealthy_threshold: 1, "
        "healthy_threshold: 1, grpc_health_check: {}}]\n"
        "    common_lb_config: {healthy_panic_threshold: {value: 0}}\n"
    )
    with run(SHIPPED.replace(cluster, cluster + checked)) as caller:
        wait_until(lambda: caller.call("/p", behind.link.issue(scopes=READ)).status == 200)
    unknown = checked.replace("grpc_health_check: {}", "grpc_health_check: {service_name: other}")
    with run(SHIPPED.replace(cluster, cluster + unknown)) as caller:
        assert caller.call("/p", behind.link.issue(scopes=READ)).status == 503


@pytest.mark.asyncio(loop_scope="session")  # the loop that starts the worker again
async def test_while_the_worker_restarts_no_call_goes_through_and_then_it_does(
    behind: Site,
) -> None:
    caller, good = behind.caller(ENVOY_GRPC, faults=True), behind.link.issue(scopes=READ)

    async def status(token: str) -> int:
        return (await asyncio.to_thread(caller.call, "/p", token)).status

    assert await status(good) == 200
    poor = behind.link.issue(scopes=())
    os.kill(behind.grpc.pids[0], signal.SIGKILL)
    assert {await status(poor) for _ in range(20)} <= {403, 503}
    assert await eventually(lambda: status(good), until=lambda found: found == 200)
