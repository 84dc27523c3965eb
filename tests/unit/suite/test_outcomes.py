"""A test that fails for time alone is repeated once, and both runs are shown; no other is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import outcomes
from tests.support.outcomes import LateError, UnsafeError, only_late, raise_if_denied

from rescind.client.transport import unreachable_error

ROOT = Path(__file__).parents[3]
UNSAFE = UnsafeError(["I1 search: tok_1 was accepted after its receipt"])


@pytest.mark.parametrize(
    "error",
    [
        LateError(),
        TimeoutError(),
        subprocess.TimeoutExpired("rescind", 60),
        unreachable_error(
            Path("search.sock"), BlockingIOError(11, "Resource temporarily unavailable")
        ),
        ExceptionGroup("tasks", [TimeoutError(), ExceptionGroup("more", [LateError()])]),
    ],
    ids=repr,
)
def test_an_error_that_reports_only_lateness_is_late(error: BaseException) -> None:
    assert only_late(error)


@pytest.mark.parametrize(
    "error",
    [
        None,
        UNSAFE,
        AssertionError("revoked != accepted"),
        ExceptionGroup("tasks", [TimeoutError(), UNSAFE]),
        ExceptionGroup("tasks", [TimeoutError(), ValueError()]),
        unreachable_error(Path("search.sock"), ConnectionResetError("it hung up")),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_an_error_that_reports_anything_else_is_not_late(error: BaseException | None) -> None:
    assert not only_late(error)


@pytest.mark.parametrize(
    ("good", "contention", "late"),
    [
        ({}, 1.0, False),
        ({"no_lease": 0}, 1.0, False),
        ({"unavailable": 1}, 1.0, True),
        ({"unavailable": 1}, 1.5, False),
        ({"no_lease": 1}, 1.5, True),
        ({"no_lease": 1, "unavailable": 1}, 1.5, True),
    ],
)
def test_only_slow_first_answers_are_excused_by_a_busy_machine(
    good: dict[str, int], contention: float, *, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "contention", lambda: contention)
    if late:
        with pytest.raises(LateError):
            raise_if_denied(good)
    else:
        raise_if_denied(good)


SUITE = """
import asyncio, gc, socket, time
from tests.support.outcomes import LateError, UnsafeError, raise_if_unsafe

runs = []

def test_late_once():
    runs.append(1)
    if len(runs) == 1:
        raise LateError("the first run was late")

def test_late_twice():
    raise LateError("late")

class InACycle:
    def __init__(self, kept):
        self.kept, self.itself = kept, self

async def test_late_once_with_a_socket_left_open():
    left_open = InACycle(socket.socket())
    runs.append("left open")
    if runs.count("left open") == 1:
        await asyncio.sleep(9)
    gc.collect()  # as any allocation may
    left_open.kept.close()

def test_function_that_hangs():
    time.sleep(9)

async def test_coroutine_that_hangs():
    await asyncio.sleep(9)

def test_wrong():
    assert 1 == 2

def test_unsafe():
    raise_if_unsafe(["I1"])

def test_unsafe_and_late():
    raise ExceptionGroup("", [LateError(), UnsafeError(["I1"])])
"""


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Run a suite by our own rules, in a process of its own, and return its summary."""
    folder = tmp_path_factory.mktemp("suite")
    (folder / "test_it.py").write_text(SUITE)
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", str(folder), "-p", "tests.conftest"),
            *("-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder)),
            *("-o", "timeout=1", "-p", "no:cacheprovider", "--rerun-show-tracebacks"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    return ran.stdout.partition("rerun test summary info")[2]


@pytest.mark.parametrize("name", ["late_once", "late_once_with_a_socket_left_open"])
def test_a_late_test_runs_again_and_the_summary_shows_both_runs(summary: str, name: str) -> None:
    assert f"RERUN test_it.py::test_{name}\n" in summary
    assert "the first run was late" in summary
    assert f"PASSED test_it.py::test_{name}\n" in summary


@pytest.mark.parametrize("name", ["late_twice", "function_that_hangs", "coroutine_that_hangs"])
def test_a_test_that_is_late_twice_fails(summary: str, name: str) -> None:
    assert summary.count(f"RERUN test_it.py::test_{name}") == 1
    assert f"FAILED test_it.py::test_{name}" in summary


@pytest.mark.parametrize("name", ["wrong", "unsafe", "unsafe_and_late"])
def test_a_test_that_saw_something_unsafe_or_wrong_never_runs_again(
    summary: str, name: str
) -> None:
    assert f"RERUN test_it.py::test_{name}" not in summary
    assert re.search(rf"FAILED \S*::test_{name}\b", summary)


def test_a_state_that_has_not_come_is_late_and_one_that_has_come_is_not() -> None:
    outcomes.timely(True, "accepted")
    with pytest.raises(LateError, match="not in time: no_lease"):
        outcomes.timely(False, "no_lease")
