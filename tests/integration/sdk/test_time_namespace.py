"""A child that is forked into a time namespace: the table's deadlines mean nothing there."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.processes import clean_environment
from tests.support.sidecar import LedgerInMemory, running

from rescind import Allowed, Verifier
from rescind.client import clock

_CHILD = """
import ctypes, os, sys
from pathlib import Path
from rescind import Allowed, Verifier

verifier = Verifier.attach(sys.argv[1], timeout_s=5)
verifier.check(sys.argv[2])
hold = verifier.hold(sys.argv[2])
hold.__enter__()
assert verifier._connection.table is not None and hold.table_until_ns is not None
if ctypes.CDLL(None).unshare(0x80):  # CLONE_NEWTIME, from <linux/sched.h>: for children
    sys.exit(77)
Path("/proc/self/timens_offsets").write_text("boottime -20 0")
if os.fork() == 0:
    verdict = verifier.check(sys.argv[2])
    allowed = isinstance(verdict, Allowed)
    print(allowed, verifier._connection.table, hold.table_until_ns, flush=True)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
_NOT_ALLOWED = 77


def test_a_child_in_another_time_namespace_asks_the_socket_and_keeps_no_end_of_a_lease(
    tmp_path: Path,
) -> None:
    link = LedgerInMemory()
    with running(tmp_path / "search.sock", link) as sidecar:
        command = (sys.executable, "-c", _CHILD, str(sidecar.path), link.issue("agent:x"))
        ended = subprocess.run(
            command,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    if ended.returncode == _NOT_ALLOWED:
        pytest.skip("this machine allows no time namespace")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["True", "None", "None"]


def test_a_forked_connection_keeps_its_table_and_its_lease_only_where_the_clock_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = LedgerInMemory()
    with running(tmp_path / "search.sock", link) as sidecar:
        verifier = Verifier.attach(sidecar.path, timeout_s=5)
        assert isinstance(verifier.check(link.issue("agent:x")), Allowed)
        connection = verifier._connection
        connection._lease_end.ends_ns = 5
        assert connection.forked().table is connection.table
        assert connection.forked()._lease_end.ends_ns == 5
        monkeypatch.setattr(clock, "time_namespace", lambda: "time:[1]")
        assert connection.forked().table is None
        assert connection.forked()._lease_end.ends_ns == 0
        verifier.close()


def test_the_time_namespace_is_that_of_the_process() -> None:
    assert clock.time_namespace() in {str(Path("/proc/self/ns/time").readlink()), ""}
