"""A workload that caches a given number of tokens.

    python -m rescind_lab.bench.processes.memory_workload SOCKET TOKENS

It checks TOKENS tokens with a fake sidecar. The ready line contains the growth of its private
memory in bytes.
"""

import sys
from pathlib import Path

from rescind import Verifier
from rescind.client.verifier import MAX_ENTRIES
from rescind.core.verdict import Allowed
from rescind_lab.bench.rows.check_under_load import make_token
from rescind_lab.errors import LabError
from rescind_runtime import ready_line, supervise
from rescind_runtime.supervise import Stop

_PRIVATE = ("Private_Clean:", "Private_Dirty:")
_BYTES_PER_KB = 1024


def _read_private_bytes() -> int:
    """Return the private memory of this process in bytes, without shared memory."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(_PRIVATE)) * _BYTES_PER_KB


async def _main(stop: Stop) -> None:
    count = int(sys.argv[2])
    verifier = Verifier.attach(sys.argv[1], most_entries=MAX_ENTRIES)
    before = _read_private_bytes()
    for number in range(count):
        if not isinstance(verifier.check(make_token(number)), Allowed):
            raise LabError("the fake sidecar denies a token")
    ready_line.announce(grown_bytes=_read_private_bytes() - before, entries=min(count, MAX_ENTRIES))
    await stop.wait()


if __name__ == "__main__":
    supervise.run(_main, name="bench workload")
