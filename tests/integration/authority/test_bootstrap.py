"""Migrations, the first admin and the edge key are made once, by however many processes."""

import asyncio
import signal

import pytest
from tests.support import processes
from tests.support.authority import System, serving

from rescind_authority.errors import KeyFileError, MigrationError, StoreUnavailableError
from rescind_authority.keys import secret_files
from rescind_authority.keys.edge_keys import EdgeKeyFile
from rescind_authority.operator import bootstrap
from rescind_authority.operator.bootstrap import Replacing
from rescind_authority.postgres import migrate, pool
from rescind_authority.postgres.migrate import Migration, Migrator
from rescind_authority.wiring.authority import Authority
from rescind_runtime.supervise import Stop


@pytest.fixture
def system(empty_system: System) -> System:
    """Return a system whose database has no schema yet."""
    return empty_system


async def test_preparing_twice_changes_nothing(system: System) -> None:
    first = await bootstrap.prepare(system.settings)
    files = _files(system)
    again = await bootstrap.prepare(system.settings)
    assert first.applied == tuple(step.name for step in migrate.known())
    assert first.admin_token_id is not None
    assert again == bootstrap.Prepared((), None)
    assert _files(system) == files
    assert len(await system.rows("SELECT FROM tokens")) == 1


async def test_concurrent_preparations_are_done_once(system: System) -> None:
    async with asyncio.TaskGroup() as tasks:
        runs = [tasks.create_task(bootstrap.prepare(system.settings)) for _ in range(4)]
    done = [run.result() for run in runs]
    assert sorted(len(each.applied) for each in done) == [0, 0, 0, len(migrate.known())]
    assert sum(each.admin_token_id is not None for each in done) == 1
    assert len(await system.rows("SELECT FROM tokens")) == 1
    assert len(await system.rows("SELECT FROM ledger_head")) == 1


async def test_secret_files_are_readable_by_their_owner_alone(system: System) -> None:
    await bootstrap.prepare(system.settings)
    assert processes.mode(system.settings.admin_token_path) == 0o600
    assert processes.mode(system.settings.edge_keys_path) == 0o600


async def test_a_changed_migration_is_refused(system: System) -> None:
    await bootstrap.prepare(system.settings)
    first, *rest = migrate.known()
    changed = (Migration(first.name, first.script + "\n-- a harmless remark"), *rest)
    async with pool.connect(system.dsn) as postgres, Migrator(postgres).alone() as schema:
        with pytest.raises(MigrationError, match=f"{first.name} is not the one that was applied"):
            await schema.migrate(changed)


async def test_a_newer_database_is_refused(system: System) -> None:
    await bootstrap.prepare(system.settings)
    await system.rows("INSERT INTO rescind_migrations (name, sha256) VALUES ('9999_later', '')")
    with pytest.raises(MigrationError, match=r"9999_later.*newer"):
        await bootstrap.prepare(system.settings)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("INSERT INTO rescind_migrations (name, sha256) VALUES ('9999_later', '')", "9999_later"),
        (
            "DELETE FROM rescind_migrations WHERE name >= '0023'",
            "lacks migration",
        ),
        ("UPDATE rescind_migrations SET sha256 = '' WHERE name = '0001_the_line'", "0001_the_line"),
    ],
)
async def test_no_authority_starts_on_a_schema_of_another_version(
    system: System, change: str, says: str
) -> None:
    await bootstrap.prepare(system.settings)
    await system.rows(change)
    with pytest.raises(MigrationError, match=says):
        await Authority(system.settings, announce=lambda **_: None).run(Stop())


async def test_a_migration_that_fails_leaves_nothing_behind(system: System) -> None:
    broken = (*migrate.known(), Migration("9999_broken", "CREATE TABLE half (); SELECT 1 / 0"))
    async with pool.connect(system.dsn) as postgres, Migrator(postgres).alone() as schema:
        with pytest.raises(MigrationError, match="9999_broken failed and was rolled back"):
            await schema.migrate(broken)
    (row,) = await system.rows("SELECT to_regclass('half') AS half")
    assert tuple(row) == (None,)
    assert (await bootstrap.prepare(system.settings)).applied == ()


async def test_a_lost_admin_token_is_not_created_again_by_accident(
    system: System, capsys: pytest.CaptureFixture[str]
) -> None:
    await bootstrap.prepare(system.settings)
    system.settings.admin_token_path.unlink()
    assert (await bootstrap.prepare(system.settings)).admin_token_id is None
    assert "rescind recover admin" in capsys.readouterr().err
    assert not system.settings.admin_token_path.exists()


async def test_a_recovered_admin_token_works_like_the_first_one(system: System) -> None:
    async with serving(system) as authority:
        before = system.settings.admin_token_path.read_text()
        token_id = await bootstrap.recover(system.settings)
        after = system.settings.admin_token_path.read_text()
        assert before != after
        assert processes.mode(system.settings.admin_token_path) == 0o600
        async with authority.as_bearer(after.strip()) as admin:
            seen = (await admin.get(f"/v1/tokens/{token_id}")).json()
        assert (seen["kind"], seen["audience"], seen["created_by"]) == (
            "admin",
            ["rescind"],
            "recover-admin",
        )


async def test_an_authority_that_was_not_migrated_states_what_to_do(system: System) -> None:
    secret_files.create_edge_key(system.settings.edge_keys_path)
    secret_files.create(system.settings.admin_token_path, "x")
    bootstrap.make_keys(system.settings)
    async with serving(system, prepare=False, connected=False) as authority:
        ready = await authority.http.get("/readyz")
        assert ready.status_code == 503
        assert "rescind migrate" in ready.json()["postgres"]


async def test_a_missing_postgres_is_named_in_plain_words(system: System) -> None:
    await system.shut()
    with pytest.raises(StoreUnavailableError, match="Postgres cannot be used"):
        await bootstrap.prepare(system.settings)


def test_the_commands_print_json_or_plain_text(system: System) -> None:
    environ = processes.clean_environment(
        RESCIND_DATA=str(system.settings.data),
        RESCIND_POSTGRES_DSN=system.dsn,
        RESCIND_NATS_URL=system.settings.nats_url.get_secret_value(),
        RESCIND_HTTP="127.0.0.1:0",
    )
    command = ("-m", "rescind_authority")
    with processes.running(*command, "migrate", environ=environ) as run:
        assert run.ready["applied"] == [step.name for step in migrate.known()]
        assert run.process.wait(10) == 0
    with processes.running(*command, "recover-admin", environ=environ) as run:
        assert str(run.ready["admin_token_id"]).startswith("tok_")
        assert run.process.wait(10) == 0
    with processes.running(*command, environ=environ) as run:
        assert str(run.ready["http"]).startswith("http://127.0.0.1:")
        assert run.ready["pid"] == run.process.pid
        assert run.end(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("text", "problem"), [("", "64 hex digits"), ("zz", "64 hex digits"), ("00" * 31, "64 hex")]
)
def test_a_bad_edge_key_file_is_refused(system: System, text: str, problem: str) -> None:
    system.settings.edge_keys_path.write_text(text)
    with pytest.raises(KeyFileError, match=problem):
        EdgeKeyFile.read(system.settings.edge_keys_path)


def _files(system: System) -> list[str]:
    paths = (system.settings.admin_token_path, system.settings.edge_keys_path)
    return [path.read_text() for path in paths]


async def test_a_lost_edge_key_is_never_replaced_silently(system: System) -> None:
    await bootstrap.prepare(system.settings)
    path = system.settings.edge_keys_path
    kept = path.read_bytes()
    path.unlink()
    with pytest.raises(KeyFileError, match=r"Restore the file.*--new-edge-key"):
        await bootstrap.prepare(system.settings)
    assert not path.exists()
    path.write_bytes(kept)
    assert (await bootstrap.prepare(system.settings)).applied == ()
    path.unlink()
    await bootstrap.prepare(system.settings, Replacing(edge_key=True))
    assert path.read_bytes() != kept


async def test_an_edge_key_is_created_if_no_token_is_live(system: System) -> None:
    await bootstrap.prepare(system.settings)
    await system.rows("UPDATE tokens SET issued_at = '2000-01-01', expires_at = '2000-01-02'")
    system.settings.edge_keys_path.unlink()
    await bootstrap.prepare(system.settings)
    assert system.settings.edge_keys_path.exists()
