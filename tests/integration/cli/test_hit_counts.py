"""Every command says what it hit, asks before it hits many, and does not end a wait in silence."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cli.conftest import Rescind, issue
from tests.support import pseudo_terminal
from tests.support.processes import clean_environment

COMMANDS = {
    "revoke": ("revoke", "subject:{}"),
    "suspend": ("suspend", "subject:{}"),
    "narrow": ("narrow", "subject:{}", "--remove", "read"),
    "kill": ("kill", "{}"),
}
every_command = pytest.mark.parametrize("command", COMMANDS)


def arguments(command: str, subject: str) -> list[str]:
    return [each.format(subject) for each in COMMANDS[command]]


@contextlib.contextmanager
def frozen(ready: Mapping[str, Any]) -> Iterator[None]:
    """Stop the only sidecar: a wait does not end until its lease does."""
    pid = ready["sidecars"][0]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@every_command
def test_a_command_reports_how_many_tokens_and_subjects_it_hit(
    rescind: Rescind, command: str
) -> None:
    subject = f"agent:hit-{command}"
    for _ in range(2):
        issue(rescind, subject, "--scope", "read")
    ended = rescind(*arguments(command, subject), "--wait")
    assert ended.returncode == 0, ended.stderr
    assert "hit  2 tokens of 1 subject\n" in ended.stdout
    assert "warning" not in ended.stderr


@every_command
def test_a_command_that_hits_nothing_warns_and_reports_0(rescind: Rescind, command: str) -> None:
    ended = rescind(*arguments(command, "agent:nobody-at-all"), "--json", "--wait")
    assert ended.returncode == 0, ended.stderr
    done = json.loads(ended.stdout)
    assert (done["hit"], done["receipt"]["hit"]) == (0, 0)
    assert "no live token was hit" in json.loads(ended.stderr)["warning"]
    receipt = rescind("receipt", done["id"])
    assert "hit  0 tokens of 0 subjects\n" in receipt.stdout
    if command != "revoke":
        lifted = [rescind("lift", done["id"]) for _ in range(2)]
        assert all("warning: the lift affects no live token" in each.stderr for each in lifted)


def test_a_second_lift_reports_that_there_was_nothing_to_lift(rescind: Rescind) -> None:
    issue(rescind, "agent:lifted-twice")
    held = json.loads(rescind("suspend", "subject:agent:lifted-twice", "--json").stdout)
    first, second = (rescind("lift", held["id"]) for _ in range(2))
    assert ("hit  1 token of 1 subject" in first.stdout, first.stderr) == (True, "")
    assert "it was lifted before" in second.stderr


@pytest.mark.parametrize("selector", ["*", "kind:agent", "tenant:wide", "label:a=b", "client:c"])
@pytest.mark.parametrize("verb", ["revoke", "suspend", "narrow"])
def test_a_wide_command_without_a_terminal_needs_yes(
    rescind: Rescind, verb: str, selector: str
) -> None:
    more = ("--remove", "read") if verb == "narrow" else ()
    ended = rescind(verb, selector, *more)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "--yes" in ended.stderr


def test_yes_or_a_preview_runs_a_wide_command(rescind: Rescind) -> None:
    for number in range(3):
        issue(rescind, f"agent:wide-{number}", "--tenant", "wide-yes")
    settings = {"RESCIND_ADMIN_TOKEN": ""}
    looked = rescind("revoke", "tenant:wide-yes", "--dry-run", "--json", **settings)
    assert json.loads(looked.stdout)["tokens"] == 3
    preview = json.loads(looked.stdout)["preview"]
    held = rescind("suspend", "tenant:wide-yes", "--yes", "--json")
    assert json.loads(held.stdout)["hit"] == 3
    done = rescind("revoke", "tenant:wide-yes", "--preview", preview, "--json")
    assert json.loads(done.stdout)["hit"] == 3


def test_expiring_by_a_filter_of_many_holders_needs_yes_too(rescind: Rescind) -> None:
    issue(rescind, "agent:many-holders", "--label", "batch=hit")
    refused = rescind("tokens", "expire", "--label", "batch=hit")
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    done = rescind("tokens", "expire", "--label", "batch=hit", "--yes", "--json")
    assert json.loads(done.stdout)["changed"] == 1
    none = rescind("tokens", "expire", "--label", "batch=hit", "--yes")
    assert "warning" in none.stderr


@pytest.mark.parametrize("as_json", [False, True])
def test_a_wait_that_times_out_reports_that_it_is_not_enforced_and_how_to_continue(
    rescind: Rescind, ready: Mapping[str, Any], as_json: bool
) -> None:
    instance = ready["sidecars"][0]["instance"]
    with frozen(ready):
        more = ("--json",) if as_json else ()
        ended = rescind("revoke", "subject:agent:late", "--wait", "--timeout", "1s", *more)
        assert ended.returncode == 6
        if as_json:
            done = json.loads(ended.stdout)
            (missing,) = done["progress"]["waits_for"]
            assert (missing["service"], missing["instance"]) == ("service-1", instance)
            return
        assert "NOT enforced yet" in ended.stderr
        assert f"service-1 ({instance[:12]}" in ended.stderr
        revocation = ended.stderr.partition("`rescind receipt ")[2].partition("`")[0]
        again = rescind("receipt", revocation, "--timeout", "1s")
        assert (again.returncode, "NOT enforced yet" in again.stderr) == (6, True)
    assert rescind("receipt", revocation).returncode == 0


@pytest.mark.parametrize("verb", ["revoke", "receipt"])
def test_ctrl_c_in_a_wait_reports_that_it_is_not_enforced_and_how_to_continue(
    rescind: Rescind, ready: Mapping[str, Any], data: Path, verb: str
) -> None:
    done = json.loads(rescind("revoke", "subject:agent:interrupted", "--json").stdout)
    command = ("receipt", done["id"]) if verb == "receipt" else ("kill", "agent:x", "--wait")
    with (
        frozen(ready),
        pseudo_terminal.opened() as terminal,
        subprocess.Popen(
            [sys.executable, "-m", "rescind_cli", *command],
            env=clean_environment(RESCIND_DATA=str(data)),
            stdout=subprocess.PIPE,
            stderr=terminal.process_end,
            text=True,
        ) as waiting,
    ):
        shown = terminal.read_until("acknowledged")  # it waits
        waiting.send_signal(signal.SIGINT)
        said, _ = waiting.communicate(timeout=30)
        shown += terminal.read_rest()
    assert waiting.returncode == 130
    assert "NOT enforced yet" in shown
    assert "service-1" in shown
    assert said.startswith("committed")


@pytest.mark.parametrize(
    ("handle", "selector"),
    [
        ("subject:agent:found", "subject:agent:found"),
        ("chain:agent:found", "subject:agent:found"),
        ("subject:agent:found", "chain:agent:found"),
    ],
)
def test_a_standing_revocation_is_found_by_the_handle_as_it_was_written(
    rescind: Rescind, handle: str, selector: str
) -> None:
    issue(rescind, "agent:found")
    held = json.loads(rescind("suspend", selector, "--json").stdout)
    listed = rescind("revocations", "ls", "--standing", "--handle", handle, "--json")
    assert held["id"] in [each["id"] for each in json.loads(listed.stdout)["revocations"]]
    assert rescind("lift", held["id"]).returncode == 0


def test_a_tokens_handle_finds_the_standing_revocations_of_its_tree(rescind: Rescind) -> None:
    token_id = issue(rescind, "agent:tree-found")["token_id"]
    held = json.loads(rescind("suspend", f"token:{token_id}", "--json").stdout)
    for handle in (f"token:{token_id}", f"tree:{token_id}"):
        listed = rescind("revocations", "ls", "--standing", "--handle", handle, "--json")
        assert [each["id"] for each in json.loads(listed.stdout)["revocations"]] == [held["id"]]
