"""A sidecar with a ledger in memory, in its own process, which a signal can stop."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SIDECAR = r"""
import sys, time
from pathlib import Path
from tests.support.sidecar import LedgerInMemory, running

link = LedgerInMemory(term_ms=int(sys.argv[2]))
with running(Path(sys.argv[1]), link):
    # In one piece, on a line of its own: the log writes here too, from another thread.
    sys.stdout.write(f"\ntoken {link.issue()} {link.issue()}\n")
    sys.stdout.flush()
    time.sleep(60)
"""


@contextmanager
def separate(socket: Path, *, term_ms: int) -> Iterator[tuple[int, list[str]]]:
    """Run a sidecar in its own process, which a signal can stop."""
    command = [sys.executable, "-c", _SIDECAR, str(socket), str(term_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            words: list[str] = []
            while words[:1] != ["token"]:  # log lines come first
                line = process.stdout.readline()
                assert line, f"the sidecar ended with {process.wait(10)}"
                words = line.split()
            yield process.pid, words[1:]
        finally:
            process.kill()
