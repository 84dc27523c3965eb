"""The client for Node beside a real sidecar: it answers as every other verifier does."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import processes
from tests.support.eventually import eventually
from tests.support.node_driver import NODE, NodeDriver
from tests.support.separate_sidecar import separate
from tests.support.sidecar import HOUR_US, LedgerInMemory, RunningSidecar, now_us, running


@pytest.fixture
def link() -> LedgerInMemory:
    return LedgerInMemory()


@pytest.fixture
def sidecar(tmp_path: Path, link: LedgerInMemory) -> Iterator[RunningSidecar]:
    with running(tmp_path / "search.sock", link) as sidecar:
        yield sidecar


def test_the_vectors_hold_in_node(example: Path, vectors: dict[str, str]) -> None:
    ended = subprocess.run(
        [NODE, "--test"], cwd=example, env=vectors, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout
    assert "# pass 0" not in ended.stdout


async def test_a_good_token_is_allowed_with_its_record(
    node: NodeDriver, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    answer = await node.check(link.issue("agent:x"), require=["tools:call"])
    assert answer["allowed"]
    record = answer["record"]
    assert (record["subject"], record["kind"], record["scopes"]) == (
        "agent:x",
        "agent",
        ["tools:call"],
    )
    assert record["tokenId"].startswith("tok_")


async def test_each_denial_has_the_reason_of_the_sidecar(
    node: NodeDriver, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    good, elsewhere = link.issue("agent:x"), link.issue(audience=("checkout",))
    unknown, expired = LedgerInMemory().issue(), link.issue(expires_at_us=now_us())
    early = link.issue(not_before_us=now_us() + HOUR_US)
    assert await node.reason(None) == "missing"
    assert await node.reason(good[:-1]) == "malformed"
    assert await node.reason(f"abc{good[3:]}") == "malformed"  # only the sidecar knows the prefix
    assert await node.reason(unknown) == "unknown"
    assert await node.reason(expired) == "expired"
    assert await node.reason(early) == "not_yet_valid"
    assert await node.reason(good, require=["tools:call", "admin:all"]) == "insufficient_scope"
    assert await node.reason(elsewhere) == "wrong_audience"
    assert await node.reason(elsewhere, audience="checkout") is None
    sidecar.push(link.revoke("subject:agent:x", effect="suspend"))
    assert await node.reason(good) == "suspended"
    sidecar.push(link.revoke("subject:agent:x"))
    assert await node.reason(good) == "revoked"


async def test_a_narrowing_removes_scopes_from_the_record(
    node: NodeDriver, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    token = link.issue("agent:x", scopes=("tools:*", "files:read"))
    sidecar.push(link.revoke("subject:agent:x", effect="narrow", scopes=("tools:call:*",)))
    record = (await node.check(token))["record"]
    assert record["scopes"] == ["files:read"]
    assert record["scopesGranted"] == ["files:read", "tools:*"]
    assert record["scopesRemoved"] == ["tools:call:*"]
    assert await node.reason(token, require=["tools:call:x"]) == "insufficient_scope"
    assert await node.reason(token, require=["tools:read"]) is None


@pytest.mark.parametrize(
    "options",
    [
        {"required": ["tools:call"]},
        {"require": "tools:call"},
        {"require": ["a:x b:y"]},
        {"audience": ""},
        {"minSeq": -1},
        {"address": 7},
    ],
)
async def test_a_wrong_option_is_an_error_and_never_ignored(
    node: NodeDriver, sidecar: RunningSidecar, link: LedgerInMemory, options: dict[str, object]
) -> None:
    answer = await node.check(link.issue(), **options)
    assert answer["error"].startswith("TypeError: ")


async def test_a_thousand_checks_at_once_are_pipelined_on_one_connection(
    node: NodeDriver, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    token = link.issue()
    assert await node.reason(token) is None
    assert await node.check_many(token, 1_000) == {"allowed": 1_000}
    assert len(sidecar.server.connections) == 1


async def test_an_answer_covers_the_position_that_was_demanded(
    node: NodeDriver, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    token = link.issue("agent:x")
    assert await node.reason(token) is None
    link.revoke("subject:agent:x")  # the push is lost
    assert await node.reason(token, minSeq=link.position.seq) == "revoked"
    assert await node.reason(link.issue(), minSeq=link.position.seq + 1) == "unavailable"


async def test_without_a_lease_nothing_is_allowed(tmp_path: Path, node: NodeDriver) -> None:
    link = LedgerInMemory(term_ms=1_000)
    with running(tmp_path / "search.sock", link):
        token = link.issue()
        assert await node.reason(token) is None
        link.reachable = False
        await eventually(lambda: node.reason(token), until=lambda seen: seen == "no_lease")
        link.reachable = True
        await eventually(lambda: node.reason(token), until=lambda seen: seen is None)


async def test_without_a_sidecar_a_token_is_unavailable_and_nonsense_is_malformed(
    node: NodeDriver, link: LedgerInMemory
) -> None:
    assert await node.reason(link.issue()) == "unavailable"
    assert await node.reason("nonsense") == "malformed"


async def test_the_client_connects_again_to_a_sidecar_that_restarted(
    tmp_path: Path, node: NodeDriver
) -> None:
    link = LedgerInMemory()
    token = link.issue("agent:x")
    for _ in range(2):
        with running(tmp_path / "search.sock", link):
            await eventually(lambda: node.reason(token), until=lambda seen: seen is None)
        assert await node.reason(token) == "unavailable"


async def test_a_connection_that_ends_costs_no_check_its_answer(
    node: NodeDriver, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    token = link.issue()
    assert await node.reason(token) is None
    sidecar.do(sidecar.hang_up)
    assert await node.reason(token) is None


async def test_a_frozen_sidecar_costs_a_check_its_deadline(
    tmp_path: Path, node: NodeDriver
) -> None:
    with separate(tmp_path / "search.sock", term_ms=60_000) as (pid, (token, _)):
        await eventually(lambda: node.reason(token), until=lambda seen: seen is None)
        processes.stop(pid)
        assert await node.reason(token, timeoutMs=100) == "unavailable"
        assert await node.check_many(token, 50) == {"unavailable": 50}
        os.kill(pid, signal.SIGCONT)
        await eventually(lambda: node.reason(token), until=lambda seen: seen is None)
