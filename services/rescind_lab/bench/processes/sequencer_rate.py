"""Measure the rate at which the sequencer commits, without other load.

    python -m rescind_lab.bench.processes.sequencer_rate REVOCATIONS

The queue of the sequencer contains many commands, as with a batch call. Announcements are encoded,
but not published. The ready line contains the time of REVOCATIONS commits. RESCIND_POSTGRES_DSN
names a ledger to which the measurement adds events.
"""

import asyncio
import hashlib
import os
import secrets
import sys
from functools import partial

from rescind.core import public_ids
from rescind.core.handles import Handle, Selector
from rescind.core.revocation import Effect, Revocation
from rescind.wire import events
from rescind.wire.events import Batch
from rescind.wire.trust_statement import Purpose
from rescind_authority.ports.ledger import IdempotentRequest, Key
from rescind_authority.postgres import pool
from rescind_authority.postgres.integrity.row_guard import RowGuard
from rescind_authority.postgres.ledger import PostgresLedger
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.settings import AuthoritySettings
from rescind_authority.usecases.ledger.publisher import Publisher
from rescind_authority.usecases.ledger.recent_events import RecentEvents
from rescind_authority.usecases.ledger.sequencer import MAX_BATCH, LedgerCommand, Sequencer
from rescind_runtime import clock, ready_line, supervise
from rescind_runtime.clock import SystemClock
from rescind_runtime.crypto.signing import Keyring
from rescind_runtime.supervise import Stop

_CONCURRENT_COMMANDS = 4 * MAX_BATCH


class _SilentAnnouncer:
    """An announcer that signs and encodes batches, and publishes nothing (port EventAnnouncer)."""

    def __init__(self, keyring: Keyring) -> None:
        self._sign = partial(keyring.sign, Purpose.EVENTS)

    def announce(self, batch: Batch) -> None:
        events.encode_batch(batch, self._sign)


def _build_command(number: int) -> LedgerCommand:
    name = f"{os.getpid()}-{number}"
    return LedgerCommand(
        idempotency=IdempotentRequest(
            Key("admin:bench", name), hashlib.sha256(name.encode()).digest()
        ),
        revocation=Revocation(
            revocation_id=public_ids.make(
                "rev",
                now_ms=clock.wall_us() // 1000,
                entropy=secrets.token_bytes(public_ids.ENTROPY_BYTES),
            ),
            selector=Selector((Handle(f"tree:tok_none-{name}"),)),
            effect=Effect.REVOKE,
            reason="a measurement",
            actor="admin:bench",
        ),
        exact=False,
    )


async def _commit_all(sequencer: Sequencer, count: int) -> float:
    """Commit commands in many concurrent tasks, and return the time of all, in seconds."""
    commands = iter([_build_command(number) for number in range(count)])

    async def commit_remaining() -> None:
        for command in commands:
            await sequencer.commit(command)

    began_ns = clock.monotonic_raw_ns()
    async with asyncio.TaskGroup() as group:
        for _ in range(_CONCURRENT_COMMANDS):
            group.create_task(commit_remaining())
    return (clock.monotonic_raw_ns() - began_ns) / 1e9


async def _main(_stop: Stop) -> None:
    settings, count = AuthoritySettings.load(), int(sys.argv[1])
    async with pool.connect(settings.postgres) as postgres:
        keyring = Keyring.read(settings.keyring_path)
        guard = RowGuard(keyring, refused=lambda _name, _why: None)
        ledger = PostgresLedger(postgres, guard)
        sequencer = Sequencer(
            ledger,
            publisher=Publisher(
                announcer=_SilentAnnouncer(keyring),
                recent=RecentEvents(ledger, clock=SystemClock()),
            ),
            clock=SystemClock(),
            metrics=PrometheusMetrics(),
        )
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(sequencer.run())
            seconds = await _commit_all(sequencer, count)
            task.cancel()
    ready_line.announce(pid=os.getpid(), revocations=count, seconds=seconds)


if __name__ == "__main__":
    supervise.run(_main, name="authority measure")
