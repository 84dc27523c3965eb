"""`python -m rescind_authority.measure REVOCATIONS`: how fast the sequencer commits, alone.

That many commands wait at its queue, as those of a batch call would; nothing is announced, but
what would be is encoded. The ready line says how long it took. `rescind bench` runs this, because
services never import each other. RESCIND_POSTGRES_DSN names a ledger that it may fill.
"""

import asyncio
import hashlib
import os
import secrets
import sys
from functools import partial

from rescind.core import ids
from rescind.core.handles import Handle, Selector
from rescind.core.revocation import Effect, Revocation
from rescind.wire import events
from rescind.wire.events import Batch
from rescind.wire.trust import Purpose
from rescind_authority.metrics import Metrics
from rescind_authority.ports.ledger import Claim, Key
from rescind_authority.postgres import pool
from rescind_authority.postgres.ledger import PostgresLedger
from rescind_authority.settings import AuthoritySettings
from rescind_authority.usecases.publish import Publisher
from rescind_authority.usecases.recent import Recent
from rescind_authority.usecases.sequence import MAX_BATCH, Command, Sequencer
from rescind_runtime import clock, ready, supervise
from rescind_runtime.clock import SystemClock
from rescind_runtime.signing import Keyring
from rescind_runtime.supervise import Stop

_ASKERS = 4 * MAX_BATCH


class _Silent:
    """Sign and encode what would be published, and publish nothing (port Announcer)."""

    def __init__(self, keyring: Keyring) -> None:
        self._seal = partial(keyring.sign, Purpose.EVENTS)

    def announce(self, batch: Batch) -> None:
        events.encode_batch(batch, self._seal)


def _command(number: int) -> Command:
    name = f"{os.getpid()}-{number}"
    return Command(
        claim=Claim(Key("admin:bench", name), hashlib.sha256(name.encode()).digest()),
        revocation=Revocation(
            revocation_id=ids.make(
                "rev",
                now_ms=clock.wall_us() // 1000,
                entropy=secrets.token_bytes(ids.ENTROPY_BYTES),
            ),
            selector=Selector((Handle(f"tree:tok_nobody-{name}"),)),
            effect=Effect.REVOKE,
            reason="a measurement",
            actor="admin:bench",
        ),
        exact=False,
    )


async def _commit(sequencer: Sequencer, count: int) -> float:
    """Have many askers commit one command after the other; give the seconds that it took."""
    commands = iter([_command(number) for number in range(count)])

    async def ask() -> None:
        for command in commands:
            await sequencer.commit(command)

    began_ns = clock.monotonic_raw_ns()
    async with asyncio.TaskGroup() as askers:
        for _ in range(_ASKERS):
            askers.create_task(ask())
    return (clock.monotonic_raw_ns() - began_ns) / 1e9


async def _main(_stop: Stop) -> None:
    settings, count = AuthoritySettings.load(), int(sys.argv[1])
    async with pool.connect(settings.postgres_dsn.get_secret_value()) as postgres:
        ledger = PostgresLedger(postgres)
        sequencer = Sequencer(
            ledger,
            publisher=Publisher(
                announcer=_Silent(Keyring.read(settings.keyring_path)), recent=Recent(ledger)
            ),
            clock=SystemClock(),
            metrics=Metrics(),
        )
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(sequencer.run())
            seconds = await _commit(sequencer, count)
            working.cancel()
    ready.announce(pid=os.getpid(), revocations=count, seconds=seconds)


if __name__ == "__main__":
    supervise.run(_main, name="authority measure")
