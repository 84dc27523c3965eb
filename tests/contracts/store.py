"""The ports of the authority's store, and what tests write through them."""

import hashlib
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.support.grants import grant
from tests.support.ledger_entries import append

from rescind.core import public_ids
from rescind.core.handles import select
from rescind.core.ledger import Position
from rescind.core.revocation import Effect, Revocation
from rescind.core.token_format import Kind
from rescind.wire.heartbeat import Heartbeat
from rescind_authority.ports.audit import Audit
from rescind_authority.ports.clients import Clients
from rescind_authority.ports.enrolments import Enrolments
from rescind_authority.ports.leases import LeaseStore, Receipts, Terms
from rescind_authority.ports.ledger import (
    Change,
    Epochs,
    FirstRequest,
    IdempotentRequest,
    Key,
    Ledger,
    LedgerEntry,
    RecordedChange,
    Transactions,
)
from rescind_authority.ports.revocations import Revocations, ScheduledLift, Sweeps
from rescind_authority.ports.token_search import Tokens
from rescind_authority.ports.tokens import (
    Ends,
    IssueTimes,
    NewToken,
    StoredToken,
    TokenRecords,
    TokenState,
)

LIFE_US = 3_600_000_000


class ScheduledLifts(Protocol):
    """The part of the port Revocations that has an adapter in memory."""

    async def scheduled_lifts(self, *, limit: int) -> tuple[ScheduledLift, ...]: ...


@dataclass(frozen=True)
class Store:
    """One adapter of each port, over the same data."""

    transactions: Transactions
    ledger: Ledger
    epochs: Epochs
    records: TokenRecords
    ends: Ends
    leases: LeaseStore
    receipts: Receipts
    terms: Terms
    enrolments: Enrolments
    clients: Clients
    scheduled_lifts: ScheduledLifts

    async def commit(
        self, *revocations: Revocation, exact: Collection[str] = ()
    ) -> Sequence[LedgerEntry]:
        """Commit an event for each of these."""
        async with self.transactions.begin() as transaction:
            return await append(transaction, revocations, exact=exact)

    async def issue(self, token: NewToken) -> None:
        """Store a token that lives for an hour."""
        async with self.transactions.begin() as transaction:
            snapshot = (await transaction.read_issuance(None, token.grant.handles)).snapshot
            at_us = snapshot.at_us
            await transaction.insert_token(
                token, IssueTimes(at_us, snapshot.as_of, at_us + LIFE_US)
            )

    async def change(self, change: Change) -> RecordedChange | None:
        """Commit a change of a token, and the event of what it ends."""
        async with self.transactions.begin() as transaction:
            made = await transaction.change(change)
            if made is not None:
                ended = () if made.end is None else (made.end,)
                await append(transaction, [changed(change.token_id)], ends=ended)
            return made

    async def look_up(self, token_hash: bytes) -> TokenState | None:
        """Read one token by a secret."""
        found = await self.records.by_hash([token_hash])
        return found.tokens[0] if found.tokens else None

    async def token(self, token_hash: bytes) -> StoredToken:
        """Read one token that is there."""
        found = await self.look_up(token_hash)
        assert found is not None
        return found.token


@dataclass(frozen=True)
class PostgresStore(Store):
    """The same, with the ports that only Postgres implements."""

    tokens: Tokens
    revocations: Revocations
    sweeps: Sweeps
    audit: Audit


def revocation(selector: str, effect: Effect = Effect.REVOKE) -> Revocation:
    """Make a revocation with an id of its own."""
    return Revocation(_id("rev"), select([selector]), effect, "", "test")


def changed(token_id: str) -> Revocation:
    """Make the event that tells verifiers to ask for a token again."""
    return revocation(f"token:{token_id}", Effect.CHANGED)


def claim(body: bytes = b"") -> IdempotentRequest:
    """Make a claim of a key that is new."""
    return IdempotentRequest(Key("test", secrets.token_hex(8)), hashlib.sha256(body).digest())


def first(claimed: Mapping[Key, FirstRequest], by: IdempotentRequest) -> bool:
    """Return True if a claim came first."""
    return claimed[by.key] == FirstRequest(by.body_hash, None)


def new_token(subject: str | None = None, *, kind: Kind = Kind.AGENT) -> NewToken:
    """Make a token, of a subject of its own where none is given."""
    token_id, secret = _id("tok"), secrets.token_bytes(32)
    granted = grant(
        token_id,
        kind=kind,
        subject=subject or f"agent:{secrets.token_hex(8)}",
        scopes=("orders:read",),
        audience=("search",),
        labels=(("env", "prod"),),
    )
    return NewToken(hashlib.sha256(secret).digest(), granted)


def heartbeat(instance: bytes, counter: int, *, applied: Position | None = None) -> Heartbeat:
    """Make a heartbeat."""
    return Heartbeat(
        instance=instance,
        nonce=secrets.token_bytes(16),
        counter=counter,
        applied=applied,
        service="search",
        host="host",
        version="0.1.0",
        posture="strict",
    )


def _id(kind: str) -> str:
    return public_ids.make(kind, now_ms=0, entropy=secrets.token_bytes(public_ids.ENTROPY_BYTES))
