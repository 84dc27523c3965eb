"""The ledger: the sequencer's transaction, and readers of its end."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict

import asyncpg

from rescind.core.handles import Handle
from rescind.core.ledger import Position
from rescind_authority.errors import NotMigratedError
from rescind_authority.ports.clients import StoredClient
from rescind_authority.ports.ledger import (
    Change,
    End,
    EventRange,
    Expiry,
    FirstRequest,
    IdempotentRequest,
    Key,
    LedgerEntry,
    LedgerTip,
    RecordedChange,
    Rotation,
)
from rescind_authority.ports.tokens import IssuanceSnapshot, IssueTimes, NewToken, Snapshot
from rescind_authority.postgres.changes import Changes
from rescind_authority.postgres.integrity.row_guard import RowGuard
from rescind_authority.postgres.ledger_tip import tip_of
from rescind_authority.postgres.pool import Borrowed, Postgres, rows
from rescind_authority.postgres.records import read_snapshot
from rescind_authority.postgres.rows import INSERTED, candidate_of, row_of


class PostgresLedgerTransaction:
    """One transaction that writes (port LedgerTransaction)."""

    def __init__(self, connection: Borrowed, guard: RowGuard) -> None:
        self._connection = connection
        self._guard = guard
        self._changes = Changes(guard)

    async def lock_keys(self, requests: Sequence[IdempotentRequest]) -> Mapping[Key, FirstRequest]:
        found = await rows(
            self._connection,
            "lock_keys",
            [request.key.actor for request in requests],
            [request.key.key for request in requests],
            [request.body_hash for request in requests],
        )
        return {
            Key(row["actor"], row["key"]): FirstRequest(row["body_hash"], row["answer"])
            for row in found
        }

    async def change(self, change: Change) -> RecordedChange | None:
        match change:
            case Rotation():
                found = await rows(
                    self._connection,
                    "rotate_token",
                    change.token_id,
                    change.replaces,
                    change.token_hash,
                    change.overlap_us,
                    change.reuse_revokes,
                    change.possession_hash,
                )
            case Expiry():
                found = await rows(self._connection, "expire_token", change.token_id, change.at_us)
            case End():
                found = await rows(
                    self._connection, "end_overdue", change.token_id, change.token_hash
                )
        return self._changes.record_change(change, found[0]) if found else None

    async def lock_head(self) -> LedgerTip:
        seen = self._guard.seen
        found = await rows(self._connection, "lock_head")
        tip = tip_of(found, self._guard, seen=seen)
        # Events that others committed meanwhile must be chained to those seen before.
        await self._guard.verify_up_to(tip.position.seq, self._read)
        return tip_of(found, self._guard, seen=seen)

    async def append(
        self,
        entries: Sequence[LedgerEntry],
        *,
        exact: Collection[str],
        head: Position,
        answers: Mapping[Key, str],
        ends: Mapping[End, int],
    ) -> None:
        tokens, secrets = self._changes.columns(entries, ends)
        await rows(
            self._connection,
            "append_events",
            head.epoch,
            [entry.event.seq for entry in entries],
            [entry.payload for entry in entries],
            [entry.head for entry in entries],
            [_revocation(entry, exact) for entry in entries],
            head.seq,
            head.head,
            [key.actor for key in answers],
            [key.key for key in answers],
            list(answers.values()),
            [each.token_id for each in tokens],
            [each.changed_seq for each in tokens],
            [each.ended_seq for each in tokens],
            [each.mac for each in tokens],
            [each.token_hash for each in secrets],
            [each.ended_seq for each in secrets],
            [each.mac for each in secrets],
            self._guard.mac("ledger_head", asdict(head)),
        )

    async def store_answers(self, answers: Mapping[Key, str]) -> None:
        await rows(
            self._connection,
            "answer_keys",
            [key.actor for key in answers],
            [key.key for key in answers],
            list(answers.values()),
        )

    async def read_issuance(
        self, parent_hash: bytes | None, handles: Collection[Handle]
    ) -> IssuanceSnapshot:
        found, snapshot = await read_snapshot(
            lambda: rows(self._connection, "issuance_snapshot", parent_hash, list(handles)),
            self._guard,
            self._read,
        )
        candidates = tuple(candidate_of(row) for row in found if row["revocation_id"] is not None)
        self._guard.require_complete(handles, candidates, as_of=snapshot.as_of)
        return IssuanceSnapshot(snapshot, next(iter(snapshot.tokens), None), candidates)

    async def read_presented(self, token_hash: bytes) -> Snapshot:
        _, snapshot = await read_snapshot(
            lambda: rows(self._connection, "records_by_hash", [token_hash]),
            self._guard,
            self._read,
        )
        return snapshot

    async def _read(self, query: str, seq: int, most: int) -> Sequence[asyncpg.Record]:
        return await rows(self._connection, query, seq, most)

    async def lock_sessions(self, subject: str) -> None:
        await rows(self._connection, "lock_sessions", subject)

    async def end_surplus(self, subject: str, *, keep: int) -> int:
        return len(await rows(self._connection, "end_surplus_sessions", subject, keep))

    async def insert_token(self, token: NewToken, issued: IssueTimes) -> None:
        row = row_of(token, issued)
        await rows(
            self._connection,
            "insert_token",
            *(row[name] for name in INSERTED),
            self._guard.mac("tokens", row),
        )
        if token.grant.idle_us is not None:
            used_at_us = max(issued.issued_at_us, token.grant.not_before_us or 0)
            await rows(
                self._connection,
                "set_idle_timeout",
                token.grant.token_id,
                used_at_us,
                token.grant.idle_us,
            )

    async def put_client(self, client: StoredClient, *, replaces: str | None, actor: str) -> bool:
        return bool(
            await rows(
                self._connection,
                "put_client",
                client.client_id,
                client.credential,
                client.registration,
                client.created_by,
                replaces,
                actor,
            )
        )


def _revocation(entry: LedgerEntry, exact: Collection[str]) -> dict[str, object]:
    event, revocation = entry.event, entry.event.revocation
    return {
        "id": revocation.revocation_id,
        "seq": event.seq,
        "effect": revocation.effect,
        "selector": revocation.selector.handles,
        "anchor": revocation.selector.anchor,
        "exact": revocation.revocation_id in exact,
        "issued_before_us": revocation.issued_before_us,
        "until_us": revocation.until_us,
        "scopes": revocation.scopes,
        "lifts": revocation.lifts,
        "reason": revocation.reason,
        "actor": revocation.actor,
        "at_us": event.at_us,
    }


class PostgresLedger:
    """Write and read the ledger (ports Transactions and Ledger)."""

    def __init__(self, postgres: Postgres, guard: RowGuard) -> None:
        self._postgres = postgres
        self._guard = guard

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[PostgresLedgerTransaction]:
        async with self._postgres.transaction() as connection:
            yield PostgresLedgerTransaction(connection, self._guard)

    async def tip(self) -> LedgerTip:
        seen = self._guard.seen
        return tip_of(await self._postgres.rows("ledger_tip"), self._guard, seen=seen)

    async def after(self, seq: int, *, limit: int) -> EventRange:
        found = await self._postgres.rows("events_after", seq, limit)
        if not found:
            raise NotMigratedError
        payloads = tuple(row["payload"] for row in found if row["payload"] is not None)
        return EventRange(found[0]["epoch"], found[0]["last"], seq + 1, payloads)
