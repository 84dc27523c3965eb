"""The doctor finds nothing wrong where nothing is, and names what is."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.operations.conftest import Diagnose, System
from tests.support import processes, pseudo_terminal
from tests.support.eventually import eventually_blocking
from tests.support.processes import clean_environment

from rescind.client import transport
from rescind_cli.doctor import postgres, sidecars
from rescind_cli.settings import LocalSettings

NOBODY = "127.0.0.1:9"


def wrong(checks: dict[str, dict[str, str]]) -> dict[str, str]:
    return {part: each["level"] for part, each in checks.items() if each["level"] != "ok"}


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_healthy_system_passes_every_check(diagnose: Diagnose) -> None:
    code, checks = diagnose()
    of_the_machine = {"clock source", "core dumps"}
    bad = {part: level for part, level in wrong(checks).items() if part not in of_the_machine}
    assert (code, bad) == (0, {})
    for part in ("postgres", "schema", "nats", "jetstream", "redis", "authority", "admin token"):
        assert part in checks
    assert "sidecars use it while NATS fails" in checks["authority over http"]["says"]
    assert {f"sidecar service-{n}: lease" for n in (1, 2)} <= checks.keys()


def test_the_text_output_has_one_line_per_check_and_a_summary(system: System) -> None:
    lines = system.rescind("doctor").stdout.splitlines()
    assert lines[-1].startswith(("ok", "warning"))
    assert all(line.startswith(("ok ", "warning", "skipped", "  ")) for line in lines)


@pytest.mark.parametrize(
    ("variable", "value", "part", "level"),
    [
        ("RESCIND_NATS_URL", f"nats://u:hunter2@{NOBODY}", "nats", "failed"),
        ("RESCIND_NATS_URL", "hunter2", "nats", "failed"),
        ("RESCIND_POSTGRES_DSN", f"postgresql://u:hunter2@{NOBODY}/x", "postgres", "failed"),
        ("RESCIND_POSTGRES_DSN", "host=x password=hunter2", "postgres", "failed"),
        ("RESCIND_REDIS_URL", f"redis://:hunter2@{NOBODY}", "redis", "warning"),
        ("RESCIND_REDIS_URL", "hunter2", "redis", "warning"),
        ("RESCIND_URL", f"http://{NOBODY}", "authority", "failed"),
        ("RESCIND_URL", "nonsense", "authority", "failed"),
        ("RESCIND_ADMIN_TOKEN", "rsc_adm_" + "0" * 60, "admin token", "failed"),
        ("RESCIND_SOCKET", "/nowhere/gone.sock", "sidecar gone", "failed"),
        ("RESCIND_EDGE_KEY_FILE", "/nowhere/edge-key", "edge key file", "failed"),
    ],
)
def test_a_wrong_setting_is_reported_at_its_check(
    diagnose: Diagnose, variable: str, value: str, part: str, level: str
) -> None:
    code, checks = diagnose(**{variable: value})
    assert checks[part]["level"] == level
    assert code == (1 if level == "failed" else 0)
    assert "hunter2" not in str(checks)


def test_an_ended_admin_token_is_refused_with_advice_on_recovery(
    system: System, diagnose: Diagnose
) -> None:
    ended = system.json(
        *("issue", "--subject", "admin:gone", "--kind", "admin"),
        *("--scope", "rescind:read", "--audience", "rescind"),
    )
    assert system.rescind("revoke", f"token:{ended['token_id']}").returncode == 0
    code, checks = diagnose(RESCIND_ADMIN_TOKEN=ended["token"])
    assert (code, checks["admin token"]["level"]) == (1, "failed")
    assert "revoked" in checks["admin token"]["says"]
    assert "rescind recover admin" in checks["admin token"]["advice"]


@pytest.mark.parametrize(
    ("name", "part"),
    [("admin-token", "admin token file"), ("edge-key", "edge key file"), ("env", "settings file")],
)
def test_a_secret_that_others_may_read_is_named(
    system: System, diagnose: Diagnose, name: str, part: str
) -> None:
    path = system.directory / name
    path.chmod(0o644)
    try:
        code, checks = diagnose()
    finally:
        path.chmod(0o600)
    assert (code, checks[part]["level"]) == (1, "failed")
    assert f"chmod 0600 {path}" in checks[part]["advice"]


def test_a_remote_server_in_clear_text_is_not_contacted(diagnose: Diagnose) -> None:
    far = {
        "nats": ("RESCIND_NATS_URL", "nats://u:hunter2@far.example:4222"),
        "redis": ("RESCIND_REDIS_URL", "redis://:hunter2@far.example:6379"),
        "postgres": (
            "RESCIND_POSTGRES_DSN",
            "postgresql://u:hunter2@far.example/x?sslmode=require",
        ),
        "authority": ("RESCIND_URL", "http://far.example:7473"),
    }
    code, checks = diagnose(**dict(far.values()))
    assert code == 1
    for part, (variable, _) in far.items():
        found = checks[part]
        assert (found["level"], found["says"]) == (
            "failed",
            f"{variable}: far.example would be reached in clear text",
        )
        assert f"RESCIND_ALLOW_PLAINTEXT={part}" in found["advice"]
        assert "hunter2" not in str(checks)
    assert checks["authority over http"]["level"] == "skipped"


def test_the_url_of_a_sidecar_is_not_accepted_as_that_of_an_authority(
    system: System, diagnose: Diagnose
) -> None:
    code, checks = diagnose(RESCIND_URL=system.ready["sidecars"][0]["http"])
    assert (code, checks["authority"]["level"]) == (1, "failed")


def test_a_frozen_nats_is_reported_as_no_answer_in_time(system: System, diagnose: Diagnose) -> None:
    with frozen(system.ready["pids"]["nats"]):
        code, checks = diagnose()
    assert (code, checks["nats"]["level"]) == (1, "failed")
    assert "no answer in time" in checks["nats"]["says"]


def test_a_hanging_sidecar_is_named_and_the_other_one_is_healthy(
    system: System, diagnose: Diagnose
) -> None:
    with frozen(system.ready["sidecars"][0]["pid"]):
        code, checks = diagnose()
    assert (code, checks["sidecar service-1"]["level"]) == (1, "failed")
    assert "kill -CONT" in checks["sidecar service-1"]["advice"]
    assert checks["sidecar service-2"]["level"] == "ok"


def test_without_an_authority_the_lease_is_gone_and_comes_back(
    system: System, diagnose: Diagnose
) -> None:
    def lease() -> str:
        return diagnose()[1]["sidecar service-1: lease"]["level"]

    with frozen(system.ready["pids"]["authority"]):
        eventually_blocking(lambda: lease() == "failed", deadline_s=40)
    eventually_blocking(lambda: lease() == "ok")


def test_without_configuration_it_fails_and_states_how_to_begin(
    system: System, tmp_path: Path
) -> None:
    ended = system.rescind("doctor", "--json", RESCIND_DATA=str(tmp_path))
    report = json.loads(ended.stdout)
    (settings,) = [each for each in report["checks"] if each["part"] == "settings"]
    assert (settings["level"], ended.returncode) == ("failed", 1)
    assert "rescind up" in settings["advice"]


def test_a_setting_that_is_unknown_or_has_a_wrong_value_is_named(system: System) -> None:
    wrong = {
        "RESCIND_TERM": "hunter2",
        "RESCIND_HEARTBEAT_S": "hunter2",
        "RESCIND_NATS_URLS": "x",
        "RESCIND_ZZZ": "x",
    }
    ended = system.rescind("doctor", "--json", **wrong)
    checks = json.loads(ended.stdout)["checks"]
    said = {
        each["says"].partition(" ")[0].rstrip(":"): each
        for each in checks
        if each["part"] == "settings"
    }
    assert said.keys() == wrong.keys()
    levels = [said[name]["level"] for name in wrong]
    assert levels == ["failed", "failed", "warning", "warning"]
    assert "Did you mean RESCIND_NATS_URL?" in said["RESCIND_NATS_URLS"]["advice"]
    assert "rescind sidecar" in said["RESCIND_HEARTBEAT_S"]["advice"]
    assert "hunter2" not in ended.stdout


def test_all_of_the_output_can_be_redirected_also_from_a_terminal(system: System) -> None:
    with (
        pseudo_terminal.opened() as terminal,
        subprocess.Popen(
            [sys.executable, "-m", "rescind_cli", "doctor"],
            env=clean_environment(RESCIND_DATA=str(system.directory)),
            stdout=subprocess.PIPE,
            stderr=terminal.process_end,
            text=True,
        ) as doctor,
    ):
        said, _ = doctor.communicate(timeout=60)
        shown = terminal.read_rest()
    assert said.splitlines()[-1].startswith(("ok", "warning"))
    assert "sidecar service-2: lease" in said
    assert "checking Postgres" in shown
    assert "service-2" not in shown


@pytest.mark.parametrize(
    ("applied", "says"), [({"1", "2", "0099_future"}, "0099_future"), ({"1"}, ": 2")]
)
def test_a_schema_of_another_version_is_named(applied: set[str], says: str) -> None:
    head = {"epoch": 1, "seq": 7, "grant_term_ms": 10_000}
    finding = postgres.schema(head, applied, {"1", "2"})
    assert finding.level == "failed"
    assert says in finding.message


def test_another_edge_key_than_that_of_the_tokens_is_named(
    system: System, diagnose: Diagnose
) -> None:
    path = system.directory / "edge-key"
    kept = path.read_text()
    path.write_text(f"{'ab' * 32} 1764000000\n")
    try:
        code, checks = diagnose()
    finally:
        path.write_text(kept)
    assert (code, checks["edge key"]["level"]) == (1, "failed")
    assert "Restore the edge key" in checks["edge key"]["advice"]
    assert checks["edge key file"]["level"] == "ok"


@pytest.mark.parametrize(
    ("problem", "says", "advice"),
    [
        (ConnectionRefusedError(111, "x"), "connection refused", "killed"),
        (PermissionError(13, "x"), "permission denied", "group"),
        (TimeoutError(), "no answer in time", "stopped"),
        (FileNotFoundError(2, "x"), "no such file", "Start it"),
    ],
)
def test_a_sidecar_that_does_not_answer_gets_the_advice_for_its_reason(
    monkeypatch: pytest.MonkeyPatch, problem: OSError, says: str, advice: str
) -> None:
    def refuse(path: Path, *, deadline_s: float) -> None:
        raise transport.unreachable_error(path, problem) from problem

    monkeypatch.setattr(sidecars, "BlockingConnection", refuse)
    here = LocalSettings(Path(), {}, ({"RESCIND_SOCKET": "/nowhere/x.sock"},))
    (finding,) = sidecars.check(here, None)
    assert says in finding.message
    assert advice in finding.advice
    told = str(transport.unreachable_error(Path("x.sock"), problem))
    assert ("start `rescind sidecar`" in told) == (advice in {"killed", "Start it"})


def readiness(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url) as answer:  # noqa: S310 - ours
            return answer.status, json.load(answer)["detail"]
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)["detail"]


def test_a_sidecar_whose_credential_ended_is_not_ready_and_the_advice_is_shown(
    system: System, diagnose: Diagnose, tmp_path: Path
) -> None:
    file = tmp_path / "late.credential"
    enrolled = system.rescind("sidecar", "enrol", "--service", "late", "--file", str(file))
    assert enrolled.returncode == 0, enrolled.stderr
    settings = {
        "RESCIND_DATA": str(system.directory),
        "RESCIND_SERVICE": "late",
        "RESCIND_CREDENTIAL_FILE": str(file),
        "RESCIND_SOCKET": str(tmp_path / "late.sock"),
        "RESCIND_HTTP": "127.0.0.1:0",
    }
    end = clean_environment(**settings)
    advice = "rescind sidecar enrol --service late"

    def lease() -> dict[str, str]:
        found = diagnose(RESCIND_SOCKET=settings["RESCIND_SOCKET"])[1]
        assert "sidecar late: fleet" not in found
        return found["sidecar late: lease"]

    with processes.running("-m", "rescind_cli", "sidecar", environ=end) as sidecar:
        eventually_blocking(lambda: lease()["level"] == "ok")
        revoked = system.rescind("revoke", "subject:service:late", "--yes", "--json")
        assert revoked.returncode == 0, revoked.stderr
        eventually_blocking(lambda: lease()["level"] == "failed" and "revoked" in lease()["says"])
        assert advice in lease()["advice"]
        url = f"{sidecar.ready['http']}/readyz"
        assert advice in readiness(url)[1]
        eventually_blocking(lambda: readiness(url)[0] == 503)  # when its last lease has ended
        assert advice in readiness(url)[1]
    with subprocess.Popen(
        [sys.executable, "-m", "rescind_cli", "sidecar"], env=end, stdout=subprocess.PIPE
    ) as again:
        try:
            assert again.stdout is not None
            line = json.loads(again.stdout.readline())
            assert (line["ready"], advice in line["why"]) == (False, True)
        finally:
            again.kill()
