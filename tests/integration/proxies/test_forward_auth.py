"""`/verify` as proxies ask it, without a proxy: their requests byte by byte, and floods."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from itertools import count

import pytest
import pytest_asyncio
from tests.support.http_exchange import RawConnection, ask, bearer, connect_raw, request
from tests.support.outcomes import timely
from tests.support.proxies.site import Site
from tests.support.sidecar import EDGE_KEY

from rescind.core import token_format
from rescind.core.token_format import Kind

pytestmark = pytest.mark.asyncio(loop_scope="session")

_FORGED, _UNKNOWN, _NEW = 1_500, 150, 50


@pytest.fixture
def port(behind: Site) -> int:
    """Return the port of the sidecar's HTTP."""
    return behind.plane.port


async def test_a_request_as_envoy_sends_it_is_answered(port: int, behind: Site) -> None:
    # ext_authz over HTTP: the caller's method and path after the prefix, content-length: 0.
    for method in ("GET", "POST", "OPTIONS", "PATCH"):
        sent = (
            f"{method} /verify/api/v1/items?page=2&require=tools:call HTTP/1.1\r\n"
            "host: search.internal\r\ncontent-length: 0\r\n"
            f"authorization: Bearer {behind.link.issue('agent:x')}\r\n"
            "x-envoy-internal: true\r\nx-forwarded-for: 10.0.0.1\r\n"
            "x-envoy-expected-rq-timeout-ms: 200\r\n\r\n"
        ).encode()
        answer = await ask(port, sent)
        assert (answer.status, answer.headers["x-rescind-subject"]) == (200, "agent:x")
        assert answer.headers["connection"] == "keep-alive"


async def test_a_request_as_traefik_sends_it_is_answered(port: int, behind: Site) -> None:
    # forwardAuth: a GET to the address as configured; the call is told in X-Forwarded-*.
    sent = request(
        "/verify?require=tools:call",
        bearer(behind.link.issue("agent:x")),
        "X-Forwarded-Method: DELETE",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: search.example",
        "X-Forwarded-Uri: /items/7?require=nothing",
        "Accept-Encoding: gzip",
    )
    answer = await ask(port, sent)
    assert (answer.status, answer.headers["x-rescind-subject"]) == (200, "agent:x")


def minted(edge_key: bytes) -> str:
    """Return a well-formed token that was never issued, with a tag of this key."""
    return token_format.mint(kind=Kind.AGENT, random=os.urandom(32), edge_key=edge_key).reveal()


async def measured(port: int) -> dict[str, float]:
    """Return the sidecar's metrics by name."""
    answer = await ask(port, request("/metrics"))
    found = re.findall(r"^rescind_sidecar_(\w+) (\S+)$", answer.body.decode(), re.MULTILINE)
    return {name: float(text) for name, text in found}


@pytest_asyncio.fixture(loop_scope="session")
async def lines(port: int) -> AsyncIterator[list[RawConnection]]:
    """Open connections as a proxy keeps them."""
    async with connect_raw(port) as one, connect_raw(port) as two, connect_raw(port) as three:
        yield [one, two, three]


async def test_a_flood_of_forged_tokens_costs_no_look_up_and_good_tokens_are_accepted(
    port: int, behind: Site, lines: list[RawConnection]
) -> None:
    known = behind.link.issue("agent:known")
    assert (await lines[0].ask(request("/verify", bearer(known)))).status == 200
    before, asked = await measured(port), behind.link.resolved
    over = asyncio.Event()

    async def flood(line: RawConnection, number: int, edge_key: bytes) -> None:
        for _ in range(number):
            answer = await line.ask(request("/verify", bearer(minted(edge_key))))
            timely(answer.status != 503, answer)
            assert (answer.status, answer.headers["x-rescind-reason"]) == (401, "unknown")

    async def accept(line: RawConnection) -> None:
        for turn in count():
            token = behind.link.issue(f"agent:{turn}") if turn < _NEW else known
            answer = await line.ask(request("/verify", bearer(token)))
            timely(answer.status != 503, answer)
            assert (answer.status, "x-rescind-subject" in answer.headers) == (200, True)
            if over.is_set() and turn >= _NEW:
                return

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(accept(lines[0]))
        async with asyncio.TaskGroup() as floods:
            floods.create_task(flood(lines[1], _FORGED, os.urandom(32)))
            floods.create_task(flood(lines[2], _UNKNOWN, EDGE_KEY))
        over.set()
    after = await measured(port)
    assert after["forgeries_total"] - before["forgeries_total"] == _FORGED
    looked_up = after["looks_at_authority_total"] - before["looks_at_authority_total"]
    assert looked_up == behind.link.resolved - asked == _UNKNOWN + _NEW
    assert after["looks_over_budget_total"] == before["looks_over_budget_total"]
