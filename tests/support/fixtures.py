"""Real servers for a session, and a database of its own for each test."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from pydantic import SecretStr
from tests.support import postgres_files, processes
from tests.support.authority import Running, System, serving

from rescind_authority.postgres import migrate, pool
from rescind_authority.postgres.migrate import Migrator
from rescind_authority.settings import AuthoritySettings

_EMPTY = "template1"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, object]]:
    """Start the servers once; they end with their parent."""
    directory = tmp_path_factory.mktemp("servers")
    postgres_files.lay_blocking(directory)
    command = ("-m", "tests.support.servers", str(directory))
    with processes.running(*command, environ=processes.clean_environment()) as run:
        yield run.ready


@pytest.fixture(scope="session")
def schema_database(servers: Mapping[str, object]) -> str:
    """Create the database that is copied for each system: it has the schema, and no ledger.

    A copy costs a fraction of the twenty migrations, each of which is a transaction.
    """
    name = _database(servers, template=_EMPTY)
    asyncio.run(_migrate(_dsn(servers, name)))
    return name


@pytest.fixture
def system(servers: Mapping[str, object], schema_database: str, tmp_path: Path) -> System:
    """Create a database with the schema, and name the files of an authority not prepared yet."""
    return fresh(servers, tmp_path, template=schema_database)


@pytest.fixture
def empty_system(servers: Mapping[str, object], tmp_path: Path) -> System:
    """Create an empty database, for tests of the migrations themselves."""
    return fresh(servers, tmp_path, template=_EMPTY)


@pytest.fixture(scope="module")
def shared_system(
    servers: Mapping[str, object], schema_database: str, tmp_path_factory: pytest.TempPathFactory
) -> System:
    """Create one system for all tests of a module: for data that is read only and slow to fill."""
    return fresh(servers, tmp_path_factory.mktemp("shared"), template=schema_database)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(shared_system: System) -> AsyncIterator[Running]:
    """Serve for all tests of a module that run in its loop, in one task from start to end."""
    ready: asyncio.Future[Running] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def live() -> None:
        async with serving(shared_system) as running:
            ready.set_result(running)
            await over.wait()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(live())
        yield await ready
        over.set()


def fresh(servers: Mapping[str, object], directory: Path, *, template: str) -> System:
    """Copy a database, and name the files of its authority."""
    return System(
        AuthoritySettings(
            data=directory,
            postgres_dsn=SecretStr(_dsn(servers, _database(servers, template=template))),
            nats_url=SecretStr(str(servers["nats"])),
            http="127.0.0.1:0",
            edge_key_file=directory / "edge-key",
            admin_token_file=directory / "admin-token",
        )
    )


def _dsn(servers: Mapping[str, object], database: str) -> str:
    return str(servers["postgres"]).replace("/postgres?", f"/{database}?")


def _database(servers: Mapping[str, object], *, template: str) -> str:
    """Create a database as a copy of another one; return its name."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    asyncio.run(_create(str(servers["postgres"]), name, template))
    return name


async def _create(postgres: str, name: str, template: str) -> None:
    connection = await asyncpg.connect(postgres)
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    finally:
        await connection.close()


async def _migrate(dsn: str) -> None:
    async with pool.connect(dsn) as postgres, Migrator(postgres).alone() as schema:
        await schema.migrate(migrate.known())
