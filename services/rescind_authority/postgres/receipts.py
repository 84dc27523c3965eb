"""Receipts, and the state that a waiter must read before it may write one."""

from collections.abc import Collection, Mapping, Sequence

from rescind.wire import events
from rescind_authority.errors import NotMigratedError, StoreUnavailableError
from rescind_authority.ports.leases import LeaseRow, WaitSnapshot
from rescind_authority.ports.ledger import LedgerEntry
from rescind_authority.postgres.pool import Postgres


class PostgresReceipts:
    """Store receipts (port Receipts)."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def waiting(self, revocation_id: str | None = None) -> WaitSnapshot:
        found = await self._postgres.rows("waiting", revocation_id)
        if not found:
            raise NotMigratedError
        head = found[0]
        if head["in_recovery"]:
            raise StoreUnavailableError("this server is a standby, name the primary")
        rows = {
            row["instance"]: LeaseRow(
                instance=row["instance"],
                service=row["service"],
                posture=row["posture"],
                version=row["row_version"],
                epoch=row["lease_epoch"],
                acked_seq=row["acked_seq"],
                released=row["released_at"] is not None,
                shared=row["shared"],
                nonce=row["nonce"],
                released_us=row["released_at"],
            )
            for row in found
            if row["instance"] is not None
        }
        last_event = None if head["event_seq"] is None else (head["event_epoch"], head["event_seq"])
        return WaitSnapshot(
            head["epoch"],
            head["seq"],
            head["wait_term_ms"],
            head["at"],
            rows,
            last_event,
            unknown_grace_ms=head["unknown_grace_ms"],
            server=head["server"],
        )

    async def heads(self, seqs: Collection[int]) -> Mapping[int, tuple[int, bytes]]:
        found = await self._postgres.rows("heads", list(seqs))
        return {row["seq"]: (row["epoch"], row["head"]) for row in found}

    async def entries_of(self, revocation_id: str) -> tuple[LedgerEntry, ...]:
        found = await self._postgres.rows("events_of", revocation_id)
        return tuple(
            LedgerEntry(events.decode(row["payload"]), row["payload"], row["head"]) for row in found
        )

    async def settle_epoch(self, epoch: int) -> None:
        await self._postgres.write("settle_epoch", epoch)

    async def delete_ended(self, versions: Mapping[bytes, int]) -> None:
        await self._postgres.write("delete_ended_leases", list(versions), list(versions.values()))

    async def keep(
        self,
        revocation_id: str,
        *,
        enforced_at_us: int,
        envelope: bytes,
        chunks: Sequence[bytes] = (),
    ) -> bytes | None:
        found = await self._postgres.write(
            "keep_receipt", revocation_id, enforced_at_us, envelope, list(chunks)
        )
        return found[0]["envelope"] if found else None

    async def details(self, revocation_id: str, numbers: range) -> tuple[bytes, ...]:
        found = await self._postgres.rows(
            "receipt_details", revocation_id, numbers.start, numbers.stop
        )
        return tuple(row["chunk"] for row in found)

    async def get(self, revocation_id: str) -> bytes | None:
        found = await self._postgres.write("get_receipt", revocation_id)
        return found[0]["envelope"] if found else None
