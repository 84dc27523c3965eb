"""Issue, check, revoke, look: each command against the real system."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cli.conftest import Rescind, issue
from tests.support import pseudo_terminal
from tests.support.eventually import eventually_blocking
from tests.support.processes import clean_environment


def denied(rescind: Rescind, token: str) -> bool:
    return rescind("check", stdin=token).returncode == 1


def test_issue_prints_the_token_on_stdout_and_its_id_on_stderr(rescind: Rescind) -> None:
    ended = rescind("issue", "--subject", "agent:a", "--kind", "agent", "--scope", "read")
    assert ended.returncode == 0
    assert ended.stdout.startswith("rsc_agt_")
    assert ended.stdout.count("\n") == 1
    assert ended.stderr.startswith("tok_")


def test_a_token_is_accepted_until_it_is_revoked(rescind: Rescind) -> None:
    issued = issue(rescind, "agent:line", "--scope", "read", "--ttl", "10m")
    other = issue(rescind, "agent:other")
    checked = rescind("check", "--require", "read", "--json", stdin=issued["token"])
    assert checked.returncode == 0
    assert json.loads(checked.stdout)["record"]["subject"] == "agent:line"
    refused = rescind("check", "--require", "write", "--json", stdin=issued["token"])
    assert refused.returncode == 1
    assert json.loads(refused.stdout) == {"active": False, "reason": "insufficient_scope"}
    revoked = rescind("revoke", f"token:{issued['token_id']}", "--reason", "test", "--json")
    assert revoked.returncode == 0
    assert json.loads(revoked.stdout)["state"] == "committed"
    eventually_blocking(lambda: denied(rescind, issued["token"]))
    assert rescind("check", stdin=other["token"]).returncode == 0


def test_a_check_that_demands_a_revocation_never_accepts(rescind: Rescind) -> None:
    for number in range(3):
        issued = issue(rescind, f"agent:demanded-{number}")
        assert rescind("check", stdin=issued["token"]).returncode == 0
        revoked = rescind("revoke", f"token:{issued['token_id']}", "--json")
        seq = str(json.loads(revoked.stdout)["seq"])
        checked = rescind("check", "--min-seq", seq, "--json", stdin=issued["token"])
        assert json.loads(checked.stdout) == {"active": False, "reason": "revoked"}
    ahead = rescind("check", "--min-seq", str(int(seq) + 1_000), stdin=issued["token"])
    assert (ahead.returncode, "unavailable" in ahead.stdout) == (1, True)


def test_a_token_on_stdin_can_be_revoked(rescind: Rescind) -> None:
    issued = issue(rescind, "agent:found")
    assert rescind("revoke", "-", stdin=issued["token"]).returncode == 0
    eventually_blocking(lambda: denied(rescind, issued["token"]))


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("y", 0)])
def test_a_wide_revocation_asks_for_confirmation_on_a_terminal(
    data: Path, answer: str, code: int
) -> None:
    with pseudo_terminal.opened() as terminal:
        with subprocess.Popen(
            [sys.executable, "-m", "rescind_cli", "revoke", "label:nobody=has", "--json"],
            env=clean_environment(RESCIND_DATA=str(data)),
            stdin=terminal.process_end,
            stderr=terminal.process_end,
            stdout=subprocess.PIPE,
        ) as asked:
            terminal.write(f"{answer}\n")
            said, _ = asked.communicate(timeout=60)
            assert asked.returncode == code
            assert bool(said) == (code == 0)
        assert "revokes every token with label:nobody=has" in terminal.read_rest()


def test_a_token_in_argv_is_a_usage_error_that_does_not_repeat_it(rescind: Rescind) -> None:
    issued = issue(rescind, "agent:argv")
    ended = rescind("revoke", issued["token"])
    assert ended.returncode == 2
    assert issued["token"] not in ended.stderr
    assert rescind("check", stdin=issued["token"]).returncode == 0


def test_a_text_that_is_not_a_token_is_denied_as_malformed(rescind: Rescind) -> None:
    ended = rescind("check", stdin="hello")
    assert (ended.returncode, ended.stdout) == (1, "denied  malformed\n")


def test_without_a_token_on_stdin_check_shows_its_usage(rescind: Rescind) -> None:
    assert rescind("check").returncode == 2


def test_one_key_revokes_once(rescind: Rescind) -> None:
    command = ("revoke", "subject:agent:once", "--idempotency-key", "key-1", "--json")
    first, second = rescind(*command), rescind(*command)
    assert json.loads(first.stdout)["seq"] == json.loads(second.stdout)["seq"]
    other = rescind("revoke", "subject:agent:twice", "--idempotency-key", "key-1")
    assert other.returncode == 1


def test_a_repeated_issue_does_not_show_the_token_again(rescind: Rescind) -> None:
    key = ("--idempotency-key", "issue-1")
    first = issue(rescind, "agent:repeat", *key)
    again = rescind("issue", "--subject", "agent:repeat", "--kind", "agent", *key)
    assert again.returncode == 1
    assert first["token_id"] in again.stderr
    assert "rsc_agt_" not in again.stdout + again.stderr


def test_a_dry_run_reports_what_would_be_hit_and_changes_nothing(rescind: Rescind) -> None:
    token = issue(rescind, "agent:looked-at")["token"]
    ended = rescind("revoke", "subject:agent:looked-at", "--dry-run", "--json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert (found["selector"], found["tokens"]) == (["chain:agent:looked-at"], 1)
    shown = rescind("kill", "agent:looked-at", "--dry-run").stdout
    assert "chain:agent:looked-at" in shown
    assert rescind("check", stdin=token).returncode == 0


def test_revoke_waits_until_it_is_enforced_and_the_receipt_is_checked_offline(
    rescind: Rescind, tmp_path: Path
) -> None:
    ended = rescind(
        *("revoke", "subject:agent:waited", "--reason", "it was time", "--wait", "--json")
    )
    assert ended.returncode == 0, ended.stderr
    done = json.loads(ended.stdout)
    assert done["state"] == "enforced"
    assert {each["outcome"] for each in done["receipt"]["verifiers"]} == {"acknowledged"}
    kept = tmp_path / "receipt.json"
    kept.write_text(rescind("receipt", done["id"], "--json").stdout)
    genuine = rescind("receipt", "--verify", str(kept), "--json")
    assert genuine.returncode == 0, genuine.stderr
    (event,) = json.loads(genuine.stdout)["receipt"]["events"]
    assert (event["seq"], event["id"]) == (done["seq"], done["id"])
    assert (event["effect"], event["selector"]) == ("revoke", ["chain:agent:waited"])
    assert event["reason"] == "it was time"
    assert re.fullmatch(r"admin:root tok_[0-9a-z]{26}", event["actor"])
    document = json.loads(kept.read_text())
    embellished = kept.with_name("embellished.json")
    embellished.write_text(kept.read_text().replace('"chain:agent:waited"', '"*"'))
    refused = rescind("receipt", "--verify", str(embellished))
    assert refused.returncode == 1
    assert "'events'" in refused.stderr
    signature = document["receipt"]["signature"]
    document["receipt"]["signature"] = signature[:-1] + ("0" if signature[-1] != "0" else "1")
    kept.write_text(json.dumps(document))
    forged = rescind("receipt", "--verify", str(kept))
    assert forged.returncode == 1
    assert "not genuine" in forged.stderr


def test_an_error_has_a_json_form(rescind: Rescind) -> None:
    ended = rescind("tokens", "show", "tok_nothing", "--json")
    assert ended.returncode == 1
    error = json.loads(ended.stderr)["error"]
    assert error["type"] == "urn:rescind:problem:not-found"
    assert error["exit"] == 1


def test_tokens_are_listed_filtered_and_shown(rescind: Rescind) -> None:
    issued = issue(rescind, "agent:listed", "--label", "team=search", "--tenant", "acme")
    listed = rescind("tokens", "ls", "--label", "team=search", "--tenant", "acme", "--json")
    assert [each["token_id"] for each in json.loads(listed.stdout)["tokens"]] == [
        issued["token_id"]
    ]
    plain = rescind("tokens", "ls", "--subject", "agent:listed")
    assert plain.stdout.splitlines()[0].split() == [
        *("ID", "STATE", "SUBJECT", "KIND", "SCOPES", "ISSUED", "ENDS")
    ]
    assert "\x1b" not in plain.stdout
    shown = rescind("tokens", "show", issued["token_id"])
    assert "agent:listed" in shown.stdout
    everything = json.loads(rescind("tokens", "ls", "--json", "--limit", "1000").stdout)
    assert all("token" not in each for each in everything["tokens"])


def test_tokens_are_counted(rescind: Rescind) -> None:
    for number in range(3):
        issue(rescind, "agent:counted", "--session", f"counted-{number}")
    chosen = ("--subject", "agent:counted", "--state", "active", "--issued-after", "1h")
    assert rescind("tokens", "ls", *chosen, "--count").stdout == "3\n"
    counted = json.loads(rescind("tokens", "ls", *chosen, "--count", "--json").stdout)
    assert counted == {"count": 3, "exact": True}
    assert rescind("tokens", "ls", "--session", "counted-1", "--count").stdout == "1\n"
    assert rescind("tokens", "ls", *chosen, "--issued-before", "1h", "--count").stdout == "0\n"


def test_a_credential_is_made_for_a_service_that_a_sidecar_can_have(
    rescind: Rescind, tmp_path: Path
) -> None:
    path = tmp_path / "credential"
    for wrong in ("sea rch/../x", "-x", "", "x" * 64):
        ended = rescind("sidecar", "enrol", "--service", wrong, "--file", str(path))
        assert ended.returncode == 2, ended.stderr
        assert "not the name of a service" in ended.stderr
        assert not path.exists()
    ended = rescind("sidecar", "enrol", "--service", "mail", "--file", str(path), "--json")
    assert ended.returncode == 0, ended.stderr
    shown = json.loads(
        rescind("tokens", "show", json.loads(ended.stdout)["token_id"], "--json").stdout
    )
    assert (shown["subject"], shown["max_depth"]) == ("service:mail", 0)
    assert "kind:sidecar" in shown["handles"]


def test_the_fleet_names_the_sidecar(rescind: Rescind) -> None:
    fleet = json.loads(rescind("fleet", "--json").stdout)
    assert [each["service"] for each in fleet["instances"]] == ["service-1"]
    assert "service-1" in rescind("fleet").stdout
    ended = rescind("fleet", "evict", "no-id")
    assert (ended.returncode, "begins with" in ended.stderr) == (2, True)


def test_events_follow_what_is_revoked(rescind: Rescind, data: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "rescind_cli", "events", "--follow", "--limit", "1", "--json"],
        env=clean_environment(RESCIND_DATA=str(data)),
        stdout=subprocess.PIPE,
        text=True,
    ) as following:
        assert following.stdout is not None
        try:
            rescind("revoke", "subject:agent:followed-1")
            rescind("revoke", "subject:agent:followed-2")
            seen: list[dict[str, Any]] = []
            while not seen or seen[-1]["selector"] != ["chain:agent:followed-2"]:
                seen.append(json.loads(following.stdout.readline()))
        finally:
            following.send_signal(signal.SIGINT)
        assert following.wait(30) == 130
    seqs = [each["seq"] for each in seen]
    assert seqs == list(range(seqs[0], seqs[-1] + 1))
    assert len({frozenset(each) for each in seen}) == 1, "listed and followed have the same keys"


def test_a_missing_authority_exits_5_and_the_error_names_the_address(rescind: Rescind) -> None:
    gone = "http://127.0.0.1:9"
    ended = rescind("fleet", "--url", gone, RESCIND_ADMIN_TOKEN="x")
    assert ended.returncode == 5
    assert gone in ended.stderr
    assert "rescind up" in ended.stderr


def test_a_missing_sidecar_exits_5_and_the_error_names_the_socket(rescind: Rescind) -> None:
    ended = rescind("check", "--socket", "/nowhere/x.sock", stdin="rsc_agt_x")
    assert ended.returncode == 5
    assert "/nowhere/x.sock" in ended.stderr


def test_an_admin_token_that_is_wrong_is_refused_without_showing_it(rescind: Rescind) -> None:
    wrong = "rsc_adm_" + "0" * 60
    ended = rescind("fleet", RESCIND_ADMIN_TOKEN=wrong)
    assert ended.returncode == 1
    assert wrong not in ended.stderr


def test_recover_makes_another_admin_token(rescind: Rescind, data: Path) -> None:
    before = (data / "admin-token").read_text()
    ended = rescind("recover", "admin", "--json")
    assert ended.returncode == 0
    assert (data / "admin-token").read_text() != before
    assert rescind("fleet").returncode == 0


def test_migrate_again_changes_nothing(rescind: Rescind) -> None:
    ended = rescind("migrate", "--json")
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["applied"] == []
