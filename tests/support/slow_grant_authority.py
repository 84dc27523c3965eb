"""An authority that may hang, or die, at a step that a file in its data directory names.

`crash-before-publish`: it dies between COMMIT and publishing, once. `stall-grant`: it hangs, for
the file's number of seconds, between the commit of the lease rows (G1) and reading the ledger's end
(G2). `stall-reply`: it hangs likewise between G2 and the reply (G3).

python -m tests.support.slow_grant_authority
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import asyncpg
from tests.support import crashing_authority

from rescind.wire.heartbeat import Heartbeat, NoLease, Release, Reply
from rescind_authority.__main__ import main
from rescind_authority.postgres.leases import PostgresLeases
from rescind_authority.postgres.pool import Borrowed
from rescind_authority.usecases.leases.grant import Granter
from rescind_authority.usecases.ledger.publisher import Publisher

_end = PostgresLeases._read_end
_answer = Granter._answer_batch


async def _stall(name: str) -> None:
    flag = Path(os.environ["RESCIND_DATA"]) / name
    try:
        seconds = float(flag.read_text())
        flag.unlink()  # the other authorities go on
    except (OSError, ValueError):
        return
    await asyncio.sleep(seconds)


async def _late_end(self: PostgresLeases, connection: Borrowed) -> Sequence[asyncpg.Record]:
    await _stall("stall-grant")
    return await _end(self, connection)


async def _late_answer(
    self: Granter, messages: Sequence[Heartbeat | Release]
) -> Sequence[Reply | NoLease | None]:
    replies = await _answer(self, messages)
    await _stall("stall-reply")
    return replies


if __name__ == "__main__":
    PostgresLeases._read_end = _late_end  # type: ignore[method-assign]
    Granter._answer_batch = _late_answer  # type: ignore[method-assign]
    Publisher.publish = crashing_authority._die_first  # type: ignore[method-assign]
    main()
