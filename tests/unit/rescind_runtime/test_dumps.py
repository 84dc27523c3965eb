"""No core dump of a process that holds keys, and a word about those of others."""

import subprocess
import sys

import pytest

from rescind_runtime import dumps

_UNLIMITED = -1


@pytest.mark.parametrize(
    ("pattern", "limit", "possible"),
    [
        ("core", 0, False),
        ("core", 4096, True),
        ("core", _UNLIMITED, True),
        ("/var/crash/%p", _UNLIMITED, True),
        ("", _UNLIMITED, False),
        ("|/usr/lib/systemd/systemd-coredump %P", 0, True),
        ("|", 0, True),
    ],
)
def test_a_core_dump_is_possible_by_a_program_or_within_the_limit(
    pattern: str, limit: int, possible: bool
) -> None:
    assert (dumps.described(pattern, limit) is not None) is possible


def test_a_process_whose_dumps_are_forbidden_is_not_dumpable_and_a_program_it_executes_is() -> None:
    code = """
import ctypes, os, sys
from rescind_runtime import dumps
libc = ctypes.CDLL(None)
before = libc.prctl(3, 0, 0, 0, 0)
dumps.forbid()
print(before, libc.prctl(3, 0, 0, 0, 0), flush=True)
os.execv(sys.executable, [sys.executable, "-c",
    "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"])
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["1", "0", "1"]
