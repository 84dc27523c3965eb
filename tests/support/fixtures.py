"""Real servers for a session, and an empty database for each test."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from pydantic import SecretStr
from tests.support import processes
from tests.support.authority import Running, System, serving

from rescind_authority.settings import AuthoritySettings

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, object]]:
    """Start the servers once; they end with their parent."""
    directory = tmp_path_factory.mktemp("servers")
    command = ("-m", "tests.support.servers", str(directory))
    with processes.running(*command, environ=processes.clean_environment()) as run:
        yield run.ready


@pytest.fixture
def system(servers: Mapping[str, object], tmp_path: Path) -> System:
    """Create an empty database, and name the files of an authority that is not prepared yet."""
    return fresh(servers, tmp_path)


@pytest.fixture(scope="module")
def shared_system(
    servers: Mapping[str, object], tmp_path_factory: pytest.TempPathFactory
) -> System:
    """Create one system for all tests of a module: for data that is read only and slow to fill."""
    return fresh(servers, tmp_path_factory.mktemp("shared"))


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


def fresh(servers: Mapping[str, object], directory: Path) -> System:
    """Create an empty database, and name the files of its authority."""
    postgres, name = str(servers["postgres"]), f"test_{os.getpid()}_{next(_numbers)}"
    asyncio.run(_create(postgres, name))
    return System(
        AuthoritySettings(
            data=directory,
            postgres_dsn=SecretStr(postgres.replace("/postgres?", f"/{name}?")),
            nats_url=SecretStr(str(servers["nats"])),
            http="127.0.0.1:0",
            edge_key_file=directory / "edge-key",
            admin_token_file=directory / "admin-token",
        )
    )


async def _create(postgres: str, name: str) -> None:
    connection = await asyncpg.connect(postgres)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
