"""The epochs of the ledger, and the position at which each began."""

from collections.abc import Collection, Mapping
from dataclasses import asdict

from rescind.core import ledger
from rescind.core.ledger import Position
from rescind.core.posture import MAX_GRACE_MS
from rescind_authority.errors import NotMigratedError
from rescind_authority.ports.ledger import Epoch
from rescind_authority.postgres.integrity.row_guard import RowGuard
from rescind_authority.postgres.pool import Postgres, rows


class PostgresEpochs:
    """Read the epochs, and begin one (port Epochs)."""

    def __init__(self, postgres: Postgres, guard: RowGuard) -> None:
        self._postgres = postgres
        self._guard = guard

    async def known(self) -> tuple[Epoch, ...]:
        found = await self._postgres.rows("epochs")
        if not found:
            raise NotMigratedError
        return tuple(
            Epoch(row["epoch"], row["base_seq"], row["base_head"], row["began_at"]) for row in found
        )

    async def payloads(self, seqs: Collection[int]) -> Mapping[int, bytes]:
        found = await self._postgres.rows("events_at", list(seqs))
        return {row["seq"]: row["payload"] for row in found}

    async def begin(
        self, *, now_s: int, unknown_grace_ms: int = MAX_GRACE_MS
    ) -> tuple[Position, Position]:
        """Begin the next epoch at the ledger's end. Return the end before and after.

        No verifier that began since the backup was made has a longer grace than `unknown_grace_ms`.

        The epoch's number is `now_s` if that is higher: the backup may be older than an epoch that
        was begun since, whose number must never be used again.
        """
        async with self._postgres.transaction() as connection:
            found = await rows(connection, "lock_head")
            if not found:
                raise NotMigratedError
            self._guard.require_end(found[0], seen=-1)
            before = Position(found[0]["epoch"], found[0]["seq"], found[0]["head"])
            after = ledger.begin_epoch(before, epoch=max(before.epoch + 1, now_s))
            mac = self._guard.mac("ledger_head", asdict(after))
            await rows(connection, "begin_epoch", after.epoch, after.head, unknown_grace_ms, mac)
        return before, after
