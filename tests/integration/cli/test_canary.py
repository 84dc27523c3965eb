"""`rescind canary` against the real system: once by its exit code, and on a schedule by metrics."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
from tests.integration.cli.conftest import Rescind
from tests.support.eventually import eventually_blocking
from tests.support.free_ports import free_port
from tests.support.processes import clean_environment


def test_one_canary_run_reports_which_verifiers_enforced_it_and_how_fast(rescind: Rescind) -> None:
    ended = rescind("canary", "--once", "--json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["faults"] == []
    assert [each["outcome"] for each in found["verifiers"]] == ["acknowledged"]
    assert 0 < found["enforced_ms"] == max(each["latency_ms"] for each in found["verifiers"])
    listed = rescind("tokens", "ls", "--subject", "service:rescind-canary", "--json")
    assert '"revoked"' in listed.stdout


def test_without_an_authority_a_single_canary_run_is_unreachable(rescind: Rescind) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    ended = rescind("canary", "--once", "--url", nowhere, RESCIND_ADMIN_TOKEN="rsc_adm_x")
    assert ended.returncode == 5


def test_on_a_schedule_it_publishes_the_latency_of_enforcement(data: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "rescind_cli", "canary"]
    with subprocess.Popen(
        [*command, "--interval", "1s", "--metrics", str(port)],
        env=clean_environment(RESCIND_DATA=str(data)),
        stdout=subprocess.PIPE,
        text=True,
    ) as flying:
        assert flying.stdout is not None
        lines = [flying.stdout.readline() for _ in range(2)]
        assert all(line.startswith("enforced  ") for line in lines)
        url = f"http://127.0.0.1:{port}/metrics"
        wanted = 'rescind_canary_rounds_total{outcome="enforced"} '
        eventually_blocking(lambda: wanted in httpx2.get(url, trust_env=False).text)
        assert "rescind_canary_enforced_seconds_bucket" in httpx2.get(url, trust_env=False).text
        flying.send_signal(signal.SIGINT)
        assert flying.wait(10) == 130
