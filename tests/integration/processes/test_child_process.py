"""A child never outlives us, and says why when it fails."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.support.eventually import eventually_blocking
from tests.support.processes import gone

from rescind_runtime.processes import child_process, launcher
from rescind_runtime.processes.child_process import Child, ChildError, Program


def shell(tmp_path: Path, script: str, *, announces: bool = False) -> Program:
    return Program(
        name="the trial",
        command=["/bin/sh", "-c", script],
        directory=tmp_path,
        log=tmp_path / "trial.log",
        environment={"PATH": "/usr/bin:/bin"},
        announces=announces,
    )


async def test_a_child_that_ends_too_early_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    program = shell(tmp_path, "echo no room left >&2; exit 3")
    async with child_process.running(program) as child:
        with pytest.raises(ChildError, match=r"the trial stopped by itself, with exit code 3") as e:
            await child.until(lambda: None, deadline_s=10)
    assert "no room left" in str(e.value)
    assert str(tmp_path / "trial.log") in str(e.value)


async def test_the_last_action_of_a_child_before_its_end_is_seen(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    async with child_process.running(shell(tmp_path, "read line <fifo; touch done")) as child:
        seen: list[bool] = []

        def probe() -> bool | None:
            """Look, and only then let the child do what is looked for, and end."""
            seen.append((tmp_path / "done").exists())
            if len(seen) == 1:
                (tmp_path / "fifo").write_text("go\n")
                eventually_blocking(lambda: child.ended)
            return seen[-1] or None

        assert await child.until(probe, deadline_s=30)
        assert seen == [False, True]


async def test_a_killed_child_is_distinguished_from_one_that_gave_up(tmp_path: Path) -> None:
    async with child_process.running(shell(tmp_path, "kill -9 $$")) as child:
        await child.wait_ended()
        assert "was killed with SIGKILL" in str(child.failure())


async def test_a_child_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    async with child_process.running(shell(tmp_path, "exec sleep 60", announces=True)) as child:
        with pytest.raises(ChildError, match="was not ready after"):
            await child.ready(deadline_s=0.1)
    assert gone(child.pid)


async def test_a_ready_line_is_read_even_when_it_comes_in_pieces(tmp_path: Path) -> None:
    script = """printf '{"ready":true,'; sleep 0.05; printf '"http":"here"}\\n'; exec sleep 60"""
    async with child_process.running(shell(tmp_path, script, announces=True)) as child:
        assert await child.ready(deadline_s=10) == {"http": "here"}


async def test_anything_else_in_place_of_the_ready_line_is_refused(tmp_path: Path) -> None:
    program = shell(tmp_path, "echo hello; exec sleep 60", announces=True)
    async with child_process.running(program) as child:
        with pytest.raises(ChildError, match="printed 'hello' where its ready line belongs"):
            await child.ready(deadline_s=10)


async def test_a_child_that_reports_that_it_is_not_ready_is_given_up_with_its_reason(
    tmp_path: Path,
) -> None:
    script = """echo '{"ready":false,"why":"its credential was revoked"}'; exec sleep 60"""
    async with child_process.running(shell(tmp_path, script, announces=True)) as child:
        with pytest.raises(ChildError, match="is not ready: its credential was revoked"):
            await child.ready(deadline_s=10)


async def test_a_child_that_ignores_its_stop_signal_is_killed_with_its_descendants(
    tmp_path: Path,
) -> None:
    script = """trap '' TERM; sleep 60 & printf '{"ready":true,"pid":%d}\\n' $!; wait; sleep 60"""
    child = Child(shell(tmp_path, script, announces=True))
    facts = await child.ready(deadline_s=10)
    await child.stop(deadline_s=0.1)
    assert gone(child.pid)
    grandchild = facts["pid"]
    assert isinstance(grandchild, int)
    eventually_blocking(lambda: gone(grandchild))


async def test_a_stop_that_is_cancelled_still_leaves_nothing(tmp_path: Path) -> None:
    script = """trap '' TERM; echo '{"ready":true}'; while :; do sleep 1; done"""
    child = Child(shell(tmp_path, script, announces=True))
    await child.ready(deadline_s=10)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await child.stop()
    assert gone(child.pid)


def test_children_start_from_the_main_thread_alone(tmp_path: Path) -> None:
    refused: list[str] = []

    def start() -> None:
        try:
            Child(shell(tmp_path, "exit 0"))
        except RuntimeError as error:
            refused.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert refused == ["children are started from the main thread"]


def test_the_death_of_a_parent_before_the_child_asked_for_the_death_signal_is_detected(
    tmp_path: Path,
) -> None:
    """The race: fork, the parent dies, and only then does the child ask for the death signal."""
    somebody_else = "1"
    proof = tmp_path / "started"
    ended = subprocess.run(
        [
            *(sys.executable, "-IS", launcher.__file__),
            *(somebody_else, str(int(signal.SIGTERM)), launcher.SAME, str(tmp_path)),
            *("/usr/bin/touch", str(proof)),
        ],
        check=False,
    )
    assert ended.returncode == launcher.EXIT_REFUSED
    assert not proof.exists()
    assert os.getppid() != 0
