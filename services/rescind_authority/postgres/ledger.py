"""The ledger: the sequencer's transaction, and readers of its end."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

import asyncpg

from rescind.core.handles import Handle
from rescind.core.ledger import Position
from rescind_authority.errors import NotMigratedError
from rescind_authority.ports.ledger import (
    Change,
    Claim,
    Claimed,
    Done,
    End,
    Entry,
    Expiry,
    Key,
    Passage,
    Rotation,
    Standing,
)
from rescind_authority.ports.tokens import Footing, Issued, NewToken, Snapshot
from rescind_authority.postgres.pool import Borrowed, Postgres, rows
from rescind_authority.postgres.records import snapshot_of
from rescind_authority.postgres.rows import candidate_of
from rescind_authority.postgres.standing import standing_of


class LedgerTransaction:
    """One transaction that writes (port LedgerTransaction)."""

    def __init__(self, connection: Borrowed) -> None:
        self._connection = connection

    async def claim(self, claims: Sequence[Claim]) -> Mapping[Key, Claimed]:
        found = await rows(
            self._connection,
            "claim_keys",
            [claim.key.actor for claim in claims],
            [claim.key.key for claim in claims],
            [claim.body_hash for claim in claims],
        )
        return {
            Key(row["actor"], row["key"]): Claimed(row["body_hash"], row["answer"]) for row in found
        }

    async def change(self, change: Change) -> Done | None:
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
                )
            case Expiry():
                found = await rows(self._connection, "expire_token", change.token_id, change.at_us)
            case End():
                found = await rows(
                    self._connection, "end_overdue", change.token_id, change.token_hash
                )
        return _done(change, found[0]) if found else None

    async def lock_head(self) -> Standing:
        return standing_of(await rows(self._connection, "lock_head"))

    async def append(
        self,
        entries: Sequence[Entry],
        *,
        exact: Collection[str],
        head: Position,
        answers: Mapping[Key, str],
        ends: Mapping[End, int],
    ) -> None:
        whole = {each.token_id: seq for each, seq in ends.items() if each.token_hash is None}
        secrets = {each.token_hash: seq for each, seq in ends.items() if each.token_hash}
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
            list(whole),
            list(whole.values()),
            list(secrets),
            list(secrets.values()),
        )

    async def answer(self, answers: Mapping[Key, str]) -> None:
        await rows(
            self._connection,
            "answer_keys",
            [key.actor for key in answers],
            [key.key for key in answers],
            list(answers.values()),
        )

    async def footing(self, parent_hash: bytes | None, handles: Collection[Handle]) -> Footing:
        found = await rows(self._connection, "footing", parent_hash, list(handles))
        snapshot = snapshot_of(found)
        candidates = tuple(candidate_of(row) for row in found if row["revocation_id"] is not None)
        return Footing(snapshot, next(iter(snapshot.tokens), None), candidates)

    async def presented(self, token_hash: bytes) -> Snapshot:
        return snapshot_of(await rows(self._connection, "records_by_hash", [token_hash]))

    async def insert_token(self, token: NewToken, issued: Issued) -> None:
        await rows(
            self._connection,
            "insert_token",
            token.token_hash,
            token.token_id,
            token.kind,
            token.subject,
            token.scopes,
            token.audience,
            token.tenant,
            token.client,
            token.session,
            dict(token.labels),
            token.handles,
            token.not_before_us,
            token.created_by,
            issued.issued_seq,
            issued.issued_at_us,
            issued.expires_at_us,
            token.lineage,
            token.chain,
            token.mandate.may_speak_for,
            token.mandate.max_depth,
            token.device.user_agent,
            token.device.address,
            token.conditions.addresses,
            dict(token.conditions.verifier),
            token.issued_by,
            token.sidecars.posture,
            token.sidecars.instances,
        )


def _done(change: Change, row: asyncpg.Record) -> Done:
    match change:
        case End():
            return Done(change)
        case Expiry() if row["over"]:
            return Done(End(change.token_id))
        case Rotation() if row["over"]:
            return Done(End(change.token_id, row["replaced"]))
        case _:
            return Done()


def _revocation(entry: Entry, exact: Collection[str]) -> dict[str, object]:
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

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[LedgerTransaction]:
        async with self._postgres.transaction() as connection:
            yield LedgerTransaction(connection)

    async def standing(self) -> Standing:
        return standing_of(await self._postgres.rows("standing"))

    async def after(self, seq: int, *, limit: int) -> Passage:
        found = await self._postgres.rows("events_after", seq, limit)
        if not found:
            raise NotMigratedError
        payloads = tuple(row["payload"] for row in found if row["payload"] is not None)
        return Passage(found[0]["epoch"], found[0]["last"], seq + 1, payloads)
