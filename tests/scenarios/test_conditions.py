"""Tokens that are good in some places only: judged by each verifier alone, on every check."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.support import local_system
from tests.support.processes import clean_environment

from rescind import Allowed, Reason, Verdict, Verifier


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """Run a system whose sidecar is in Europe, behind a proxy that says where callers are."""
    directory = tmp_path_factory.mktemp("eu")
    settings = {"RESCIND_LABELS": "region=eu, tier=prod", "RESCIND_ADDRESS_HEADER": "x-real-ip"}
    with local_system.up(directory, settings=settings) as run:
        yield {**run.ready, "directory": directory}
        assert run.end(signal.SIGTERM) == 0


@pytest.fixture
def verifier(ready: dict[str, list[dict[str, str]]]) -> Iterator[Verifier]:
    verifier = Verifier.attach(Path(ready["sidecars"][0]["socket"]), timeout_s=5)
    yield verifier
    verifier.close()


def issue(ready: dict[str, object], *conditions: str) -> str:
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "rescind_cli", "issue", "--json"),
            *("--subject", "agent:tied", "--kind", "agent", *conditions),
        ],
        env=clean_environment(RESCIND_DATA=str(ready["directory"])),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    token: str = json.loads(ended.stdout)["token"]
    return token


def reason(verdict: Verdict) -> str:
    return "accepted" if isinstance(verdict, Allowed) else verdict.reason


def test_a_token_is_valid_only_from_its_networks(
    ready: dict[str, object], verifier: Verifier
) -> None:
    token = issue(ready, "--address", "10.0.0.0/8", "--address", "2001:db8::/32")
    for _ in range(2):  # at first sight, and from memory
        assert reason(verifier.check(token, address="10.1.2.3")) == "accepted"
        assert reason(verifier.check(token, address="2001:db8::7")) == "accepted"
        assert reason(verifier.check(token, address="192.0.2.1")) == Reason.WRONG_ADDRESS
        assert reason(verifier.check(token)) == Reason.WRONG_ADDRESS


def test_a_token_is_valid_only_at_verifiers_of_its_place(
    ready: dict[str, object], verifier: Verifier
) -> None:
    here = issue(ready, "--verifier", "region=eu")
    there = issue(ready, "--verifier", "region=us")
    assert reason(verifier.check(here)) == "accepted"
    assert reason(verifier.check(there)) == Reason.WRONG_VERIFIER


def test_the_http_interfaces_apply_the_same_conditions(ready: dict[str, object]) -> None:
    token = issue(ready, "--address", "10.0.0.0/8", "--verifier", "tier=prod")
    http = ready["sidecars"][0]["http"]  # type: ignore[index]
    for address, status, active in (("10.1.2.3", 200, True), ("192.0.2.1", 401, False)):
        headers = {"Authorization": f"Bearer {token}", "X-Real-IP": address}
        assert httpx2.get(f"{http}/verify", headers=headers).status_code == status
        body = {"token": token, "address": address}
        assert httpx2.post(f"{http}/v1/check", json=body).json()["active"] is active
