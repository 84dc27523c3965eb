"""The doctor finds nothing wrong where nothing is, and names what is."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.operations.conftest import Diagnose, System
from tests.support.processes import eventually

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


def test_a_healthy_system_has_nothing_wrong(diagnose: Diagnose) -> None:
    code, checks = diagnose()
    bad = {part: level for part, level in wrong(checks).items() if part != "clock source"}
    assert (code, bad) == (0, {})
    for part in ("postgres", "schema", "nats", "jetstream", "redis", "authority", "admin token"):
        assert part in checks
    assert "epoch 1" in checks["authority over http"]["says"]
    assert {f"sidecar service-{n}: lease" for n in (1, 2)} <= checks.keys()


def test_a_person_reads_one_line_a_check_and_a_summary(system: System) -> None:
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
def test_what_is_configured_wrongly_is_named(
    diagnose: Diagnose, variable: str, value: str, part: str, level: str
) -> None:
    code, checks = diagnose(**{variable: value})
    assert checks[part]["level"] == level
    assert code == (1 if level == "failed" else 0)
    assert "hunter2" not in str(checks)


def test_an_admin_token_that_ended_is_refused_with_the_way_back(
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


def test_a_sidecar_s_url_is_no_authority_s(system: System, diagnose: Diagnose) -> None:
    code, checks = diagnose(RESCIND_URL=system.ready["sidecars"][0]["http"])
    assert (code, checks["authority"]["level"]) == (1, "failed")


def test_a_frozen_nats_is_no_answer_in_time(system: System, diagnose: Diagnose) -> None:
    with frozen(system.ready["pids"]["nats"]):
        code, checks = diagnose()
    assert (code, checks["nats"]["level"]) == (1, "failed")
    assert "no answer in time" in checks["nats"]["says"]


def test_a_sidecar_that_hangs_is_named_and_the_other_is_well(
    system: System, diagnose: Diagnose
) -> None:
    with frozen(system.ready["sidecars"][0]["pid"]):
        code, checks = diagnose()
    assert (code, checks["sidecar service-1"]["level"]) == (1, "failed")
    assert checks["sidecar service-2"]["level"] == "ok"


def test_without_an_authority_the_lease_is_gone_and_comes_back(
    system: System, diagnose: Diagnose
) -> None:
    def lease() -> str:
        return diagnose()[1]["sidecar service-1: lease"]["level"]

    with frozen(system.ready["pids"]["authority"]):
        eventually(lambda: lease() == "failed", deadline_s=40)
    eventually(lambda: lease() == "ok")


def test_where_nothing_is_configured_it_says_how_to_begin(system: System, tmp_path: Path) -> None:
    report = system.json("doctor", RESCIND_DATA=str(tmp_path))
    (settings,) = [each for each in report["checks"] if each["part"] == "settings"]
    assert settings["level"] == "warning"
    assert "rescind up" in settings["advice"]
