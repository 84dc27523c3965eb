"""Delegations that race revocations of their ancestors, on a real Postgres.

`LockingTransactions` is the seeded bug: it reads the head under a lock, which looks safer and is
not.
"""

import asyncio
import itertools
import random
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support import rows

from rescind.core.handles import Handle, select
from rescind.core.revocation import Effect, Revocation
from rescind.core.token_format import Kind
from rescind.wire.events import Batch
from rescind.wire.heartbeat import AckRequest
from rescind_authority.errors import UnauthenticatedError
from rescind_authority.ports.ledger import IdempotentRequest, Key, Transactions
from rescind_authority.ports.tokens import IssuanceSnapshot
from rescind_authority.postgres import pool, queries
from rescind_authority.postgres.integrity.row_guard import RowGuard
from rescind_authority.postgres.ledger import PostgresLedger, PostgresLedgerTransaction
from rescind_authority.postgres.pool import Borrowed, Postgres
from rescind_authority.postgres.records import snapshot_of
from rescind_authority.postgres.rows import candidate_of
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.usecases.access.authoriser import ALL_SCOPES, Actor
from rescind_authority.usecases.ledger.sequencer import LedgerCommand
from rescind_authority.usecases.lookups.resolver import restrictions_of
from rescind_authority.usecases.tokens import root_admin
from rescind_authority.usecases.tokens.delegate import DelegateCommand, Delegator
from rescind_authority.usecases.tokens.issue import IssueCommand, Issuer
from rescind_authority.usecases.tokens.new_token import Minted, Repeated, TokenGenerator
from rescind_authority.wiring.core import Core
from rescind_runtime.clock import SystemClock
from rescind_runtime.crypto.signing import Keyring

ROOTS = 6
HOLDERS = 8
DETECTORS = 2
GENERATIONS = 3

_numbers = itertools.count()


class _LockedTransaction(PostgresLedgerTransaction):
    async def read_issuance(
        self, parent_hash: bytes | None, handles: Collection[Handle]
    ) -> IssuanceSnapshot:
        locked = queries.read("issuance_snapshot") + "FOR SHARE OF h"
        found = await self._connection.fetch(locked, parent_hash, list(handles))
        snapshot = snapshot_of(found, self._guard)
        candidates = tuple(candidate_of(row) for row in found if row["revocation_id"] is not None)
        return IssuanceSnapshot(snapshot, next(iter(snapshot.tokens), None), candidates)


class LockingTransactions:
    """Transactions with the seeded bug."""

    def __init__(self, postgres: Postgres, guard: RowGuard) -> None:
        self._postgres = postgres
        self._guard = guard

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[PostgresLedgerTransaction]:
        """Begin a transaction."""
        async with self._postgres.transaction() as connection:
            yield _LockedTransaction(connection, self._guard)


class _InterruptedTransaction(PostgresLedgerTransaction):
    def __init__(
        self, connection: Borrowed, guard: RowGuard, meanwhile: Callable[[], Awaitable[object]]
    ) -> None:
        super().__init__(connection, guard)
        self._meanwhile = meanwhile

    async def read_issuance(
        self, parent_hash: bytes | None, handles: Collection[Handle]
    ) -> IssuanceSnapshot:
        snapshot = await super().read_issuance(parent_hash, handles)
        await self._meanwhile()
        return snapshot


@dataclass
class InterruptedTransactions:
    """Transactions that call `meanwhile` just after the issuance snapshot was read."""

    postgres: Postgres
    guard: RowGuard
    meanwhile: Callable[[], Awaitable[object]]

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[PostgresLedgerTransaction]:
        """Begin a transaction."""
        async with self.postgres.transaction() as connection:
            yield _InterruptedTransaction(connection, self.guard, self.meanwhile)


class OneEdgeKey:
    """A key that is never rotated (port EdgeKeys)."""

    minting = bytes(32)
    accepted = (minting,)


MINT = TokenGenerator(SystemClock(), secrets.token_bytes, OneEdgeKey(), "rsc")


class _SilentAnnouncer:
    def announce(self, batch: Batch) -> None: ...

    def call(self, wanted: AckRequest) -> None: ...


@dataclass
class Race:
    """The result of a race: the children made and refused, and those that outlived an ancestor."""

    wanted: int
    random_source: random.Random
    parts: Core
    guard: RowGuard
    delegator: Delegator
    issuer: Issuer
    families: list[list[Minted]] = field(default_factory=list[list[Minted]])
    ids: list[str] = field(default_factory=list[str])
    made: int = 0
    refused: int = 0
    revoked: int = 0
    admin: Actor | None = None

    async def run(self) -> None:
        """Delegate and revoke at once until enough children were made."""
        self.families = [[await self.root()] for _ in range(ROOTS)]
        async with asyncio.TaskGroup() as tasks:
            for _ in range(HOLDERS):
                tasks.create_task(self._hand_on())
            for _ in range(DETECTORS):
                tasks.create_task(self._detect())

    async def orphans(self) -> list[str]:
        """Return the children that live although an ancestor is dead."""
        states_found = await self.parts.records.by_id(self.ids)
        states = {state.token.grant.token_id: state for state in states_found.tokens}
        dead = {token_id for token_id, state in states.items() if restrictions_of(state)}
        assert dead
        return [
            token_id
            for token_id, state in states.items()
            if token_id not in dead and dead & set(state.token.grant.lineage)
        ]

    async def root(self) -> Minted:
        """Issue a token without a parent."""
        number = next(_numbers)
        wish = IssueCommand(
            subject=f"agent:root-{number}",
            kind=Kind.AGENT,
            scopes=[],
            audience=[],
            ttl_s=3600,
            labels={"run": str(number)},
        )
        if self.admin is None:
            made = await root_admin.make_root(self.issuer, actor="race")
            self.admin = Actor(
                made.token.grant.subject,
                made.token.grant.token_id,
                frozenset(ALL_SCOPES),
                made.token.token_hash,
            )
        idempotency = _claim("admin:race")
        return self._kept(await self.issuer.issue(wish, actor=self.admin, idempotency=idempotency))

    def _kept(self, minted: Minted | Repeated) -> Minted:
        assert isinstance(minted, Minted)
        self.ids.append(minted.token.grant.token_id)
        return minted

    async def _hand_on(self) -> None:
        while self.made < self.wanted:
            family = self.random_source.choice(self.families)
            parent = family[0]
            try:
                for _ in range(GENERATIONS):
                    parent = await self.child(parent)
                    family.append(parent)
            except UnauthenticatedError:
                self.refused += 1

    async def child(self, parent: Minted) -> Minted:
        """Delegate from a token."""
        portion = DelegateCommand(
            subject=f"{parent.token.grant.subject}/{next(_numbers)}",
            kind=Kind.AGENT,
            scopes=[],
            audience=[],
            ttl_s=None,
            labels={},
        )
        child = await self.delegator.delegate(
            portion,
            parent_hash=parent.token.token_hash,
            idempotency=_claim(parent.token.grant.token_id),
        )
        self.made += 1
        return self._kept(child)

    async def revoke(self, selector: str, issued_before_us: int | None = None) -> None:
        """Commit a revocation."""
        await self.parts.sequencer.commit(_command(selector, issued_before_us))
        self.revoked += 1

    async def _detect(self) -> None:
        """Kill a whole family by its root, its label or a subject, or a branch of it."""
        while self.made < self.wanted:
            place = self.random_source.randrange(ROOTS)
            target = self.random_source.choice(self.families[place])
            root = self.families[place][0].token
            selector = self.random_source.choice(
                [
                    f"tree:{target.token.grant.token_id}",
                    f"chain:{target.token.grant.subject}",
                    f"tree:{root.grant.token_id}",
                    f"label:run={dict(root.grant.labels)['run']}",
                ]
            )
            # Half have a cutoff just after the victim was made: its children are younger than that.
            cutoff_us = self.random_source.choice([None, target.issued.issued_at_us + 1])
            await self.revoke(selector, cutoff_us)
            self.families[place] = [await self.root()]


def _claim(owner: str) -> IdempotentRequest:
    return IdempotentRequest(Key(owner, f"key-{next(_numbers)}"), bytes(32))


def _command(selector: str, issued_before_us: int | None) -> LedgerCommand:
    name = f"rev_{next(_numbers):026}"
    revocation = Revocation(
        name, select([selector]), Effect.REVOKE, "", "admin:race", issued_before_us
    )
    return LedgerCommand(_claim("admin:race"), revocation, exact=False)


@asynccontextmanager
async def prepared(
    dsn: str, *, wanted: int, seed: int, locked: bool = False
) -> AsyncGenerator[Race]:
    """Return a race in a prepared database; `locked` seeds the bug."""
    keys = Keyring.create(root=bytes(32), now_us=0)
    async with pool.connect(dsn) as postgres:
        parts = Core(
            postgres,
            announcer=_SilentAnnouncer(),
            caller=_SilentAnnouncer(),
            keys=keys,
            metrics=PrometheusMetrics(),
        )
        guard = rows.guard_of(keys)
        plain = PostgresLedger(postgres, guard)
        ledger: Transactions = LockingTransactions(postgres, guard) if locked else plain
        async with asyncio.TaskGroup() as tasks:
            job = tasks.create_task(parts.run())
            yield Race(
                wanted=wanted,
                random_source=random.Random(seed),
                parts=parts,
                guard=guard,
                delegator=Delegator(ledger, mint=MINT),
                issuer=Issuer(plain, mint=MINT),
            )
            job.cancel()
