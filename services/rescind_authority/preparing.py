"""What an operator does to an authority that may not be running: migrate, recover, begin an epoch.

The second place beside `wiring.py` that knows several parts.
"""

import json
import secrets
import sys
from dataclasses import dataclass

import structlog

from rescind.core.ledger import Position
from rescind_authority import secret_files
from rescind_authority.edge_keys import LiveEdgeKeys
from rescind_authority.errors import KeyFileError
from rescind_authority.ports.ledger import Epoch
from rescind_authority.postgres import migrate, pool
from rescind_authority.postgres.epochs import PostgresEpochs
from rescind_authority.postgres.ledger import PostgresLedger
from rescind_authority.postgres.migrate import Migrator, Schema
from rescind_authority.postgres.pool import Postgres
from rescind_authority.settings import AuthoritySettings
from rescind_authority.usecases import admins
from rescind_authority.usecases.issue import Issuer
from rescind_authority.usecases.mint import Mint
from rescind_runtime import data_dir
from rescind_runtime.clock import SystemClock
from rescind_runtime.signing import Keyring

_ROOT_BYTES = 32

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a run of the migrator did; `admin_token_id` is None where none was made."""

    applied: tuple[str, ...]
    admin_token_id: str | None


async def prepare(settings: AuthoritySettings) -> Prepared:
    """Migrate; make the edge key, the ledger and the first admin token where they are missing."""
    # One process at a time, to the end: two would make two first admins.
    async with (
        pool.connect(settings.postgres_dsn.get_secret_value()) as postgres,
        Migrator(postgres).alone() as schema,
    ):
        applied = await schema.migrate(migrate.known())
        await schema.begin_ledger(term_ms=settings.term_ms)
        secret_files.create_edge_key(settings.edge_keys_path)
        make_keys(settings)
        made = await _first_admin(settings, postgres, schema)
    if applied:
        _log.info("the schema is up to date", action="migrated", applied=list(applied))
    return Prepared(applied, made)


async def recover(settings: AuthoritySettings) -> str:
    """Make another admin token, put it into the admin token file, and name its id."""
    async with pool.connect(settings.postgres_dsn.get_secret_value()) as postgres:
        minted = await admins.make_root(_issuer(settings, postgres), actor="recover-admin")
    try:
        settings.admin_token_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        data_dir.write_private(settings.admin_token_path, minted.secret.reveal() + "\n")
    except OSError as error:
        raise KeyFileError(
            f"{settings.admin_token_path} cannot be written: {error.strerror}. "
            "Name another file with RESCIND_ADMIN_TOKEN_FILE and run this again."
        ) from error
    _log.warning("another admin token was made", action="admin.recovered", id=minted.token.token_id)
    return minted.token.token_id


async def new_epoch(
    settings: AuthoritySettings, *, unknown_grace_ms: int
) -> tuple[Position, Position]:
    """Begin an epoch where the ledger ends, after a restore; return its end before and after.

    No sidecar that began since the backup was made has a longer grace than `unknown_grace_ms`.
    """
    async with pool.connect(settings.postgres_dsn.get_secret_value()) as postgres:
        before, after = await PostgresEpochs(postgres).begin(
            now_s=SystemClock().wall_us() // 1_000_000, unknown_grace_ms=unknown_grace_ms
        )
    _log.warning("a new epoch began", action="epoch.began", epoch=after.epoch, seq=after.seq)
    return before, after


async def ledger(settings: AuthoritySettings) -> tuple[Position, tuple[Epoch, ...]]:
    """Read where the ledger ends, and where its epochs began."""
    async with pool.connect(settings.postgres_dsn.get_secret_value()) as postgres:
        epochs = await PostgresEpochs(postgres).known()
        return (await PostgresLedger(postgres).standing()).position, epochs


def report(**facts: object) -> None:
    """Print what was done as one line of JSON on standard output."""
    sys.stdout.write(json.dumps(facts) + "\n")


def make_keys(settings: AuthoritySettings) -> None:
    """Make the root key and the keyring where they are missing, and write what is public."""
    if not settings.keyring_path.exists():
        secret_files.create(settings.root_key_path, secrets.token_bytes(_ROOT_BYTES).hex())
        root = secret_files.read_key(settings.root_key_path)
        Keyring.create(root=root, now_us=SystemClock().wall_us()).write(settings.keyring_path)
    Keyring.read(settings.keyring_path).trust.write(settings.trust_path)


async def _first_admin(
    settings: AuthoritySettings, postgres: Postgres, schema: Schema
) -> str | None:
    path = settings.admin_token_path
    if path.exists():
        return None
    if await schema.live_admins():
        sys.stderr.write(
            f"rescind migrate: {path} does not exist, but this database has admin tokens. "
            "If yours is lost, make another with `rescind recover admin`.\n"
        )
        return None
    minted = await admins.make_root(_issuer(settings, postgres), actor="migrate")
    # The row before the file: after a crash between them there is an admin without a file, whom
    # `recover admin` replaces; the other way round there would be a file that opens nothing.
    if not secret_files.create(path, minted.secret.reveal()):
        raise KeyFileError(f"{path} appeared while it was being made. Run `rescind migrate` again.")
    return minted.token.token_id


def _issuer(settings: AuthoritySettings, postgres: Postgres) -> Issuer:
    return Issuer(
        PostgresLedger(postgres),
        mint=Mint(
            clock=SystemClock(),
            entropy=secrets.token_bytes,
            edge_keys=LiveEdgeKeys(settings.edge_keys_path, SystemClock()),
            prefix=settings.token_prefix,
        ),
    )
