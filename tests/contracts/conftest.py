"""One conformance suite for each port, run on the adapter in memory and on the real one.

A test uses ports alone. It compares with what it read before, since all tests share one database,
one NATS and one Valkey.

| suite | ports | in memory | real |
| --- | --- | --- | --- |
| `test_ledger` | Transactions, Ledger, Epochs | `support/postgres_in_memory` | Postgres |
| `test_records` | TokenRecords, Ends | the same | Postgres |
| `test_leases` | LeaseStore, Receipts, Terms | the same | Postgres |
| `test_enrolments` | Enrolments | the same | Postgres |
| `test_clients` | Clients, and the clients of Transactions | the same | Postgres |
| `test_revocations` | Revocations, Sweeps, SweepTransaction | `timed` alone | Postgres |
| `test_token_search` | Tokens | none | Postgres |
| `test_audit` | Audit | none | Postgres |
| `test_broadcast` | EventAnnouncer, AcknowledgementCaller | the simulation's network | NATS |
| `test_shared_records` | SharedRecordWriter, SharedRecordReader | the simulation's Redis | Valkey |
| `test_metrics` | Metrics | none | Prometheus |
| `test_keys` | Keys, EdgeKeys, Entropy | `simulation/trust` | Ed25519, X25519 |
| the same | TrustStore, InstanceKeys, RandomSource | the same | the same |
| `test_clocks` | Clock, BootClock | `support/clocks`, the simulation's hosts | this machine |
| `test_transport` | Transport, PushingTransport | the simulation's wires | NATS, HTTP |
| `test_authority_link` | AuthorityLink | `support/sidecar`, the wires | NATS, HTTP |
| `test_tables` | Tables | `support/tables` | the mapped file |

A port without an adapter in memory is one that no use case in memory needs: its suite runs on the
real adapter alone. Without a suite: `trust_store.Store`, whose one adapter is the file of
`unit/rescind_sidecar/test_trust_file.py`, and the SDK's connections to the socket, which have no
port and no second adapter.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from tests.contracts.store import PostgresStore, Store
from tests.support import fixtures, rows
from tests.support.authority import System, now_us
from tests.support.postgres_in_memory import (
    ClientsInMemory,
    Cluster,
    EnrolmentsInMemory,
    PostgresInMemory,
    TermsInMemory,
    begun,
)

from rescind_authority.operator import bootstrap
from rescind_authority.postgres import pool
from rescind_authority.postgres.audit import PostgresAudit
from rescind_authority.postgres.clients import PostgresClients
from rescind_authority.postgres.enrolments import PostgresEnrolments
from rescind_authority.postgres.epochs import PostgresEpochs
from rescind_authority.postgres.lease_term import PostgresTerms
from rescind_authority.postgres.leases import PostgresLeases
from rescind_authority.postgres.ledger import PostgresLedger
from rescind_authority.postgres.receipts import PostgresReceipts
from rescind_authority.postgres.records import PostgresRecords
from rescind_authority.postgres.revocations import PostgresRevocations
from rescind_authority.postgres.revoked_marks import PostgresSweeps
from rescind_authority.postgres.token_search import PostgresTokens

TERM_MS = 10_000


@pytest.fixture(scope="session")
def prepared(
    servers: Mapping[str, object], schema_database: str, tmp_path_factory: pytest.TempPathFactory
) -> System:
    """Create one database for all suites."""
    system = fixtures.fresh(servers, tmp_path_factory.mktemp("contracts"), template=schema_database)
    asyncio.run(bootstrap.prepare(system.settings))
    return system


@pytest.fixture(params=["memory", "postgres"])
def adapter(request: pytest.FixtureRequest) -> System | None:
    """Return a system whose Postgres is prepared; None stands for memory."""
    if request.param == "memory":
        return None
    system: System = request.getfixturevalue("prepared")
    return system


@pytest_asyncio.fixture
async def store(adapter: System | None) -> AsyncIterator[Store]:
    if adapter is None:
        yield _in_memory()
        return
    async with _in_postgres(adapter) as store:
        yield store


@pytest_asyncio.fixture
async def postgres_store(prepared: System) -> AsyncIterator[PostgresStore]:
    """Connect to Postgres alone, for the ports that it alone implements."""
    async with _in_postgres(prepared) as store:
        yield store


@asynccontextmanager
async def _in_postgres(system: System) -> AsyncGenerator[PostgresStore]:
    guard = rows.guard(system.settings)
    async with pool.connect(system.dsn) as postgres:
        ledger, records = PostgresLedger(postgres, guard), PostgresRecords(postgres, guard)
        revocations = PostgresRevocations(postgres, guard)
        yield PostgresStore(
            transactions=ledger,
            ledger=ledger,
            epochs=PostgresEpochs(postgres, guard),
            records=records,
            ends=records,
            leases=PostgresLeases(postgres, guard),
            receipts=PostgresReceipts(postgres),
            terms=PostgresTerms(postgres),
            enrolments=PostgresEnrolments(postgres, guard),
            clients=PostgresClients(postgres),
            scheduled_lifts=revocations,
            tokens=PostgresTokens(postgres),
            revocations=revocations,
            sweeps=PostgresSweeps(postgres),
            audit=PostgresAudit(postgres),
        )


def _in_memory() -> Store:
    cluster = Cluster(begun(term_ms=TERM_MS, at_us=now_us()), now_us=now_us)
    postgres = PostgresInMemory(cluster, _no_trip)
    return Store(
        transactions=postgres,
        ledger=postgres,
        epochs=postgres,
        records=postgres,
        ends=postgres,
        leases=postgres,
        receipts=postgres,
        terms=TermsInMemory(cluster, _no_trip),
        enrolments=EnrolmentsInMemory(cluster, _no_trip),
        clients=ClientsInMemory(cluster, _no_trip),
        scheduled_lifts=postgres,
    )


async def _no_trip() -> None:
    await asyncio.sleep(0)
