"""How a process of ours ends: its exit code, and what a person reads."""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import processes
from tests.support.eventually import eventually_blocking
from tests.support.processes import clean_environment

_SCRIPT = """
import asyncio, logging, os, structlog
from rescind.errors import RescindError
from rescind_runtime import ready_line, supervise

async def refuse(): raise RescindError("the door is shut")
async def break_down(): raise KeyError("boom")

async def main(stop):
    match {what!r}:
        case "refuse" | "crash" as what:
            async with asyncio.TaskGroup() as group:
                group.create_task(refuse() if what == "refuse" else break_down())
        case "log":
            token = "rsc_agt_" + "a" * 60
            structlog.stdlib.get_logger().info("on " + token, action="tried", password="hunter2")
            logging.getLogger("asyncpg").warning("to %s", "postgresql://me:hunter2@host/db")
        case "wait":
            ready_line.announce(pid=os.getpid())
            await stop.wait()
        case "reload":
            stop.on_hangup = lambda: print("read again", flush=True)
            ready_line.announce(pid=os.getpid())
            await stop.wait()
        case "deaf":
            ready_line.announce(pid=os.getpid())
            await asyncio.Event().wait()

supervise.run(main, name="trial")
"""

_SCRIPT_LIMIT = """
import resource
from rescind_runtime import supervise

async def main(stop):
    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])

supervise.run(main, name="trial")
"""


def ended(what: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(what=what)],
        capture_output=True,
        check=False,
        env=clean_environment(RESCIND_DATA=str(Path(__file__).parent), **settings),
        text=True,
        timeout=30,
    )


def test_a_refusal_is_one_plain_line_and_exit_code_1() -> None:
    run = ended("refuse")
    assert (run.returncode, run.stderr) == (1, "rescind trial: the door is shut\n")


def test_a_defect_is_logged_once_without_a_traceback() -> None:
    run = ended("crash", RESCIND_LOG="json")
    assert run.returncode == 70
    line = json.loads(run.stderr)
    assert (line["action"], line["error"]) == ("crashed", "KeyError: 'boom'")


def test_a_developer_may_see_the_traceback() -> None:
    assert "Traceback" in ended("crash", RESCIND_LOG="console:debug").stderr
    assert "Traceback" not in ended("crash", RESCIND_LOG="console").stderr


def test_a_wrong_setting_is_a_refusal() -> None:
    run = ended("refuse", RESCIND_LOG="loud")
    assert run.returncode == 1
    assert run.stderr.startswith("rescind trial: RESCIND_LOG: ")
    assert run.stderr.count("\n") == 1


def test_every_line_has_an_action_and_no_secret() -> None:
    run = ended("log", RESCIND_LOG="json")
    assert [json.loads(line)["action"] for line in run.stderr.splitlines()] == ["tried", "asyncpg"]
    assert "hunter2" not in run.stderr
    assert "a" * 60 not in run.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_for_the_end(number: signal.Signals) -> None:
    script = _SCRIPT.format(what="wait")
    with processes.running("-c", script, environ=clean_environment()) as run:
        assert run.end(number) == 0


def test_sighup_reads_again_what_can_be_read_again() -> None:
    command = ("-c", _SCRIPT.format(what="reload"))
    with processes.running(*command, environ=clean_environment()) as run:
        assert run.process.stdout is not None
        for _ in range(2):
            run.process.send_signal(signal.SIGHUP)
            assert run.process.stdout.readline() == b"read again\n"
        assert run.end(signal.SIGTERM) == 0


def test_a_second_signal_ends_a_process_that_ignored_the_first() -> None:
    script = _SCRIPT.format(what="deaf")
    with processes.running("-c", script, environ=clean_environment()) as run:
        run.process.send_signal(signal.SIGINT)
        eventually_blocking(lambda: not pending(run.process.pid, signal.SIGINT))
        assert run.end(signal.SIGTERM) == 130


def pending(pid: int, number: signal.Signals) -> bool:
    """Tell whether the kernel still keeps a signal for a process (SigPnd, ShdPnd in proc(5))."""
    status = Path("/proc", str(pid), "status").read_text(encoding="utf-8")
    masks = [int(line.split()[1], 16) for line in status.splitlines() if "Pnd:" in line]
    return any(mask >> (number - 1) & 1 for mask in masks)


def test_a_process_takes_the_descriptors_that_the_system_allows() -> None:
    run = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -S -n 256; exec "$0" -c "$1"', sys.executable, _SCRIPT_LIMIT],
        capture_output=True,
        check=True,
        env=clean_environment(RESCIND_DATA=str(Path(__file__).parent)),
        text=True,
        timeout=30,
    )
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert int(run.stdout) == (65_536 if most == resource.RLIM_INFINITY else min(65_536, most))
