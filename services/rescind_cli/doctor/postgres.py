"""Checks of Postgres: it keeps what it acknowledged, and contains the schema."""

import asyncio
from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from rescind.errors import RescindError
from rescind_cli.doctor import driver_errors, findings
from rescind_cli.doctor.findings import Finding
from rescind_cli.settings import LocalSettings
from rescind_runtime import clock
from rescind_runtime.links import PostgresLink

if TYPE_CHECKING:  # imported where it is installed and needed
    import asyncpg

_PART = "postgres"
_OLDEST_VERSION = 150_000
_MAX_DIFFERENCE_S = 1.0
# One row. The settings are read as text, since their sizes do not matter.
_SETTINGS = """
SELECT
    current_setting('server_version') AS version,
    current_setting('server_version_num')::int AS number,
    pg_is_in_recovery() AS standby,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('fsync') AS fsync,
    current_setting('full_page_writes') AS full_page_writes,
    extract(epoch FROM clock_timestamp())::float8 AS at,
    to_regclass('ledger_head') IS NOT NULL AS migrated,
    to_regclass('rescind_migrations') IS NOT NULL AS stepped
"""
_STEPS = "SELECT name FROM rescind_migrations"
_HEAD = "SELECT epoch, seq, grant_term_ms FROM ledger_head"
_START = "Start Postgres, or correct RESCIND_POSTGRES_DSN. See also the log of Postgres."
_DURABLE = "A committed revocation could be lost: set it to on, and reload Postgres."


def check(local: LocalSettings, *, steps: Collection[str] | None) -> list[Finding]:
    """Check the database that RESCIND_POSTGRES_DSN names.

    `steps` are the schema steps of this version; None if the authority is not installed here.
    """
    try:
        dsn = local.secret("RESCIND_POSTGRES_DSN")
    except RescindError as error:
        return [findings.failed(_PART, str(error), "Correct RESCIND_POSTGRES_DSN_FILE.")]
    if dsn is None:
        return [
            findings.skipped(_PART, "RESCIND_POSTGRES_DSN is not set here: an authority needs it")
        ]
    if (absent := driver_errors.missing(_PART, "asyncpg")) is not None:
        return [absent]
    link = PostgresLink(
        dsn,
        local.files("postgres"),
        password_file=local.path("RESCIND_POSTGRES_PASSWORD_FILE"),
        default_host=local.postgres_host,
    )
    try:
        link.require_safe(local.plaintext)
        return asyncio.run(_check_server(link, None if steps is None else frozenset(steps)))
    except RescindError as error:
        return [driver_errors.refused(_PART, error)]


async def _check_server(link: PostgresLink, known: AbstractSet[str] | None) -> list[Finding]:
    import asyncpg  # noqa: PLC0415 - only an authority's host has it

    where = driver_errors.place(link.dsn)
    try:
        async with asyncio.timeout(driver_errors.DEADLINE_S):
            connection = await asyncpg.connect(
                link.dsn, server_settings={"timezone": "UTC"}, **link.options()
            )
            try:
                row = await connection.fetchrow(_SETTINGS)
                head = await connection.fetchrow(_HEAD) if row and row["migrated"] else None
                applied = await connection.fetch(_STEPS) if row and row["stepped"] else []
            finally:
                connection.terminate()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        return [
            findings.failed(
                _PART,
                f"{where} cannot be used: {driver_errors.reason(error)}",
                driver_errors.advice(error, "postgres", "RESCIND_POSTGRES_DSN", _START),
            )
        ]
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    return [
        _check_version(row, where),
        *_check_durability(row),
        *_check_clock(row),
        schema(None if head is None else dict(head), {each["name"] for each in applied}, known),
    ]


def _check_version(row: "asyncpg.Record", where: str) -> Finding:
    message = f"{where}, version {row['version']}"
    if row["number"] < _OLDEST_VERSION:
        return findings.failed(_PART, f"{message} is too old", "Upgrade to Postgres 15 or newer.")
    if row["standby"]:
        return findings.failed(
            _PART, f"{message} is a standby", "Name the primary in RESCIND_POSTGRES_DSN."
        )
    return findings.ok(_PART, message)


def _check_durability(row: "asyncpg.Record") -> Iterator[Finding]:
    names = ("fsync", "full_page_writes", "synchronous_commit")
    bad = [name for name in names if row[name] == "off"]
    if row["synchronous_commit"] == "local":
        yield findings.warning(
            "postgres durability",
            "synchronous_commit is local: a standby may lack committed revocations",
            "If Postgres can fail over, set it to on or remote_apply.",
        )
    for name in bad:
        yield findings.failed("postgres durability", f"{name} is off", _DURABLE)
    if not bad:
        yield findings.ok("postgres durability", f"synchronous_commit {row['synchronous_commit']}")


def _check_clock(row: "asyncpg.Record") -> Iterator[Finding]:
    difference_s = abs(row["at"] - clock.wall_us() / 1e6)
    if difference_s > _MAX_DIFFERENCE_S:
        yield findings.warning(
            "postgres clock",
            f"it differs by {difference_s:.1f} s from this machine's clock",
            "Leases are not affected, but tokens expire by this clock. Run NTP on both.",
        )


def schema(
    head: "Mapping[str, int] | None", applied: AbstractSet[str], known: AbstractSet[str] | None
) -> Finding:
    """Compare the applied schema steps with those of this version."""
    if head is None:
        return findings.failed("schema", "the tables are missing", "Run `rescind migrate`.")
    if known is not None and (missing := sorted(known - applied)):
        message = f"these steps are missing: {', '.join(missing)}"
        return findings.failed("schema", message, "Run `rescind migrate`.")
    if known is not None and (newer := sorted(applied - known)):
        return findings.failed(
            "schema",
            f"these steps are unknown to this version: {', '.join(newer)}",
            "A newer version migrated the schema, and this version does not start. Upgrade it.",
        )
    return findings.ok(
        "schema",
        f"migrated; the ledger is at {head['epoch']}.{head['seq']}, "
        f"lease term {head['grant_term_ms'] / 1000:g} s",
    )
