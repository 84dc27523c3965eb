"""Commands that need a separate system: they end its instances, or hit many of its tokens."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cli.conftest import Rescind, running_system
from tests.support import pseudo_terminal
from tests.support.processes import clean_environment

from rescind.client import Admin

COLUMNS = 80
MAX_HITS_WITHOUT_PREVIEW = 2
TOKENS_ISSUED_AFTER_PREVIEW = 110
"""A preview of one token does not cover this number of tokens."""


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Any]]:
    """Start a system that requires a preview above two tokens."""
    directory = tmp_path_factory.mktemp("own")
    with running_system(directory, RESCIND_PREVIEW_ABOVE=str(MAX_HITS_WITHOUT_PREVIEW)) as ready:
        yield ready


@pytest.fixture
def admin(data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Admin]:
    monkeypatch.setenv("RESCIND_DATA", str(data))
    with Admin.from_environment() as admin:
        yield admin


def run_on_terminal(data: Path, *arguments: str) -> str:
    """Run a command whose stdout is a terminal of 80 columns, and return the output."""
    with (
        pseudo_terminal.opened(columns=COLUMNS) as terminal,
        subprocess.Popen(
            [sys.executable, "-m", "rescind_cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=terminal.process_end,
            env=clean_environment(RESCIND_DATA=str(data), NO_COLOR="1", TERM="xterm"),
        ) as process,
    ):
        shown = terminal.read_rest()
    assert process.returncode == 0, shown
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)


@pytest.mark.parametrize(
    "selector", [("tenant:preview",), ("subject:agent:preview-0", "tenant:preview")]
)
def test_yes_runs_a_command_that_would_otherwise_need_a_preview(
    rescind: Rescind, admin: Admin, selector: tuple[str, ...]
) -> None:
    subjects = ["agent:preview-0"] * (MAX_HITS_WITHOUT_PREVIEW + 1) + ["agent:preview-1"]
    for subject in subjects:
        admin.issue(subject=subject, kind="agent", tenant="preview")
    done = rescind("suspend", *selector, "--yes", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["hit"] > MAX_HITS_WITHOUT_PREVIEW
    assert rescind("lift", json.loads(done.stdout)["id"]).returncode == 0


def test_a_preview_of_fewer_tokens_is_refused_and_the_error_names_the_options(
    rescind: Rescind, admin: Admin
) -> None:
    admin.issue(subject="agent:few", kind="agent", tenant="grown")
    dry_run = rescind("revoke", "tenant:grown", "--dry-run", "--json")
    for _ in range(TOKENS_ISSUED_AFTER_PREVIEW):
        admin.issue(subject="agent:few", kind="agent", tenant="grown")
    preview = json.loads(dry_run.stdout)["preview"]
    refused = rescind("revoke", "tenant:grown", "--preview", preview)
    assert refused.returncode != 0
    assert "Nothing was changed. Repeat --dry-run" in refused.stderr
    assert json.loads(rescind("tokens", "ls", "--tenant", "grown", "--json").stdout)["tokens"]


@pytest.fixture(scope="module")
def entry_count(ready: Mapping[str, Any]) -> int:
    """Create more tokens and revocations than a list shows at once; return the number."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RESCIND_DATA", str(ready["directory"]))
        with Admin.from_environment() as admin:
            for number in range(55):
                scopes = [f"a-scope-of-some-length:{each}" for each in range(8)]
                admin.issue(subject=f"agent:many-{number}", kind="agent", scopes=scopes)
                admin.suspend(f"subject:agent:many-{number}", reason="a reason of some length " * 4)
    return 55


@pytest.mark.parametrize("listed", ["tokens", "revocations"])
def test_a_long_list_fits_a_terminal_and_states_how_much_of_it_is_shown(
    data: Path, entry_count: int, listed: str
) -> None:
    shown = run_on_terminal(data, listed, "ls")
    lines = shown.splitlines()
    assert max(map(len, lines)) <= COLUMNS
    of = " of 1" if listed == "tokens" else ", and there are more"
    assert lines[-1].startswith(f"showing  50{of}")
    assert lines[-1].endswith("; --limit 0 for all")
    whole = run_on_terminal(data, listed, "ls", "--limit", "0")
    assert "showing" not in whole
    assert whole.count("\n") > shown.count("\n")
    assert entry_count > 50


def test_an_evicted_instance_is_shown_as_evicted_with_the_reason(rescind: Rescind) -> None:
    (only,) = json.loads(rescind("fleet", "--json").stdout)["instances"]
    assert only["state"] == "live"
    evicted = rescind("fleet", "evict", only["instance"][:8], "--reason", "its host was stolen")
    assert evicted.returncode == 0, evicted.stderr
    assert only["instance"] in evicted.stdout
    (seen,) = json.loads(rescind("fleet", "--ended", "--json").stdout)["instances"]
    assert seen["state"] == "evicted"
    assert seen["evicted_why"].endswith(": its host was stolen")


def test_commands_accept_the_ledger_and_begin_a_new_epoch(rescind: Rescind, data: Path) -> None:
    before = json.loads(rescind("ledger", "show", "--json").stdout)
    accepted = rescind("ledger", "accept", "--yes", "--json")
    assert accepted.returncode == 0, accepted.stderr
    begun = rescind("ledger", "new-epoch", "--longest-grace", "0", "--yes", "--json")
    assert begun.returncode == 0, begun.stderr
    assert json.loads(begun.stdout)["epoch"] > before["epochs"][-1]["epoch"]
