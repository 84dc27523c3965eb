"""A workload with a given number of entries.

    python -m rescind_lab.bench.processes.memory_workload SOCKET TOKENS

It checks TOKENS tokens against a stand-in. Its ready line contains the number of bytes by which
that made it grow.
"""

import sys
from pathlib import Path

from rescind import Verifier
from rescind.client.verifier import MOST_ENTRIES
from rescind.core.verdict import Allowed
from rescind_lab.bench.rows.check_under_load import forged
from rescind_lab.errors import SceneError
from rescind_runtime import ready_line, supervise
from rescind_runtime.supervise import Stop

_PRIVATE = ("Private_Clean:", "Private_Dirty:")
_BYTES_PER_KB = 1024


def private_bytes() -> int:
    """Return the private memory of this process in bytes, without shared memory."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(_PRIVATE)) * _BYTES_PER_KB


async def _main(stop: Stop) -> None:
    count = int(sys.argv[2])
    verifier = Verifier.attach(sys.argv[1], most_entries=MOST_ENTRIES)
    before = private_bytes()
    for number in range(count):
        if not isinstance(verifier.check(forged(number)), Allowed):
            raise SceneError("the stand-in denies a token")
    ready_line.announce(grown_bytes=private_bytes() - before, entries=min(count, MOST_ENTRIES))
    await stop.wait()


if __name__ == "__main__":
    supervise.run(_main, name="bench workload")
