"""The public names and their types, pinned: both checkers read public_api.py as a user's code."""

import subprocess
import sys
from pathlib import Path

import pytest

import rescind

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PUBLIC = {
    "Allowed",
    "Denied",
    "DeniedError",
    "Reason",
    "Record",
    "RescindError",
    "UnreachableError",
    "Verdict",
    "Verifier",
}


def checked(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    program = Path(sys.executable).with_name(str(command[0]))
    return subprocess.run(
        [program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_public_names_are_those_of_the_contract() -> None:
    assert set(rescind.__all__) >= PUBLIC
    assert all(hasattr(rescind, name) for name in rescind.__all__)


@pytest.mark.parametrize("name", ["public_api.py", "wrong_use.py"])
def test_mypy_reads_the_public_api_as_it_is_promised(name: str) -> None:
    # An ignore that nothing needs any more is an error in strict mode: so wrong use stays wrong.
    run = checked("mypy", HERE / name)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("name", ["public_api.py", "wrong_use.py"])
def test_pyright_reads_the_public_api_as_it_is_promised(name: str) -> None:
    run = checked("pyright", "--pythonpath", sys.executable, HERE / name)
    assert run.returncode == 0, run.stdout
