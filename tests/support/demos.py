"""Runs of `rescind demo`, which separate unsafe results from those too slow to be measured."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.outcomes import LateError, raise_if_unsafe
from tests.support.processes import clean_environment

_CLAIMS_NOT_MEASURED = 1
_ACCEPTED = re.compile(r"[1-9]\d* were accepted")


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run one demo with its temporary files in a folder. Raises TimeoutExpired."""
    return subprocess.run(
        [sys.executable, "-m", "rescind_cli", "demo", *arguments],
        env=clean_environment(TMPDIR=str(folder)),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def outcome(folder: Path, *arguments: str) -> dict[str, Any]:
    """Return the document of a demo whose every claim holds.

    Raises UnsafeError if a call was accepted that must not be, and LateError if another claim was
    not measured: a demo of ten seconds on a busy machine may call too seldom to show one.
    """
    ran = run(folder, *arguments, "--json")
    assert "rsc_" not in ran.stdout + ran.stderr
    assert ran.returncode in (0, _CLAIMS_NOT_MEASURED), ran.stderr
    assert ran.stdout, ran.stderr
    document: dict[str, Any] = json.loads(ran.stdout)
    raise_if_unsafe([*_accepted(document)])
    broken = [claim for claim in document["claims"] if not claim["holds"]]
    assert document["ok"] == (ran.returncode == 0) == (not broken)
    if broken:
        raise LateError(f"not measured: {broken}")
    return document


def shown(folder: Path, *arguments: str) -> str:
    """Return the text of a demo whose every claim holds. Raises what `outcome` raises."""
    ran = run(folder, *arguments)
    broken = [line for line in ran.stdout.splitlines() if line.startswith("NO ")]
    raise_if_unsafe([line for line in broken if _ACCEPTED.search(line)])
    if broken:
        raise LateError(f"not measured: {broken}")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def _accepted(document: dict[str, Any]) -> Iterator[str]:
    lanes = document.get("services") or [each for each in document["agents"] if each["hit"]]
    for lane in lanes:
        for name, count in lane.items():
            if "accepted_after" in name and count:
                yield f"{name} of {lane}"
