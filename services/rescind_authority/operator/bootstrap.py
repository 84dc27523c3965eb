"""Commands on an authority that may not be running: migrate, recover, begin an epoch.

Beside `wiring/`, this is the second place that combines several adapters.
"""

import json
import secrets
import sys
from contextlib import closing
from dataclasses import dataclass

import structlog

from rescind.core.ledger import Position
from rescind_authority.errors import KeyFileError
from rescind_authority.keys import secret_files
from rescind_authority.keys.edge_keys import ReloadingEdgeKeys
from rescind_authority.ledger_index import LedgerIndex
from rescind_authority.ports.ledger import Epoch
from rescind_authority.postgres import migrate, pool
from rescind_authority.postgres.epochs import PostgresEpochs
from rescind_authority.postgres.integrity.ledger_watch import LedgerWatch
from rescind_authority.postgres.integrity.row_guard import RowGuard
from rescind_authority.postgres.integrity.row_macs import RowKeys
from rescind_authority.postgres.integrity.row_rewriter import RowRewriter
from rescind_authority.postgres.ledger import PostgresLedger
from rescind_authority.postgres.migrate import Migrator, Schema
from rescind_authority.postgres.pool import Postgres
from rescind_authority.settings import AuthoritySettings
from rescind_authority.usecases.tokens import root_admin
from rescind_authority.usecases.tokens.issue import Issuer
from rescind_authority.usecases.tokens.new_token import TokenGenerator
from rescind_runtime import data_dir
from rescind_runtime.clock import SystemClock
from rescind_runtime.crypto.signing import Keyring

_ROOT_BYTES = 32

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class Prepared:
    """The result of a migrator run; `admin_token_id` is None if no token was made."""

    applied: tuple[str, ...]
    admin_token_id: str | None


@dataclass(frozen=True, slots=True)
class Replacing:
    """The lost parts that a migrator run replaces, each at the cost that its option documents.

    With `trust_rows`, every row in Postgres counts as written by an authority.
    """

    edge_key: bool = False
    keyring: bool = False
    trust_rows: bool = False


_NOTHING = Replacing()


async def prepare(settings: AuthoritySettings, replacing: Replacing = _NOTHING) -> Prepared:
    """Migrate the schema, and create the keys, the ledger and the first admin token if missing.

    Raises KeyFileError if a key that tokens need is missing, unless `replacing` requests a new one.
    """
    # One process at a time, to the end: two processes would make two first admin tokens.
    async with (
        pool.connect(settings.postgres) as postgres,
        Migrator(postgres).alone() as schema,
    ):
        applied = await schema.migrate(migrate.known())
        await schema.begin_ledger(term_ms=settings.term_ms)
        await _make_edge_key(settings, schema, anew=replacing.edge_key)
        await _make_keyring(settings, schema, replacing)
        await _adopt_rows(settings, postgres)
        await _begin_index(settings, postgres)
        made = await _make_first_admin(settings, postgres, schema)
    if applied:
        _log.info("the schema is up to date", action="migrated", applied=list(applied))
    return Prepared(applied, made)


async def recover(settings: AuthoritySettings) -> str:
    """Create another admin token, write it to the admin token file, and return its id."""
    async with pool.connect(settings.postgres) as postgres:
        minted = await root_admin.make_root(
            _build_issuer(settings, postgres), actor="recover-admin"
        )
    try:
        settings.admin_token_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        data_dir.write_private(settings.admin_token_path, minted.secret.reveal() + "\n")
    except OSError as error:
        raise KeyFileError(
            f"{settings.admin_token_path} cannot be written: {error.strerror}. "
            "Name another file with RESCIND_ADMIN_TOKEN_FILE and run this again."
        ) from error
    _log.warning(
        "another admin token was made", action="admin.recovered", id=minted.token.grant.token_id
    )
    return minted.token.grant.token_id


async def new_epoch(
    settings: AuthoritySettings, *, unknown_grace_ms: int
) -> tuple[Position, Position]:
    """Begin an epoch at the ledger's end, after a restore; return the end before and after.

    No sidecar that began since the backup was made has a longer grace than `unknown_grace_ms`.
    """
    async with pool.connect(settings.postgres) as postgres:
        before, after = await PostgresEpochs(postgres, _guard_of(settings)).begin(
            now_s=SystemClock().wall_us() // 1_000_000, unknown_grace_ms=unknown_grace_ms
        )
    _log.warning("a new epoch began", action="epoch.began", epoch=after.epoch, seq=after.seq)
    return before, after


async def ledger(settings: AuthoritySettings) -> tuple[Position, tuple[Epoch, ...]]:
    """Read the ledger's end, and the positions at which its epochs began."""
    async with pool.connect(settings.postgres) as postgres:
        guard = _guard_of(settings)
        epochs = await PostgresEpochs(postgres, guard).known()
        return (await PostgresLedger(postgres, guard).tip()).position, epochs


def report(**facts: object) -> None:
    """Print the result of a command as one line of JSON on standard output."""
    sys.stdout.write(json.dumps(facts) + "\n")


def make_keys(settings: AuthoritySettings, *, adopting: bool = False) -> None:
    """Create the root key and the keyring if missing, and write the trust statement."""
    path = settings.keyring_path
    if not path.exists():
        secret_files.create(settings.root_key_path, secrets.token_bytes(_ROOT_BYTES).hex())
        root = secret_files.read_key(settings.root_key_path)
        now_us = SystemClock().wall_us()
        keyring = Keyring.create(root=root, now_us=now_us, life_us=settings.trust_life_us)
        keyring.with_rows(adopting=adopting).write(path)
    Keyring.read(path).trust.write(settings.trust_path)


async def _make_keyring(settings: AuthoritySettings, schema: Schema, replacing: Replacing) -> None:
    """Create the keyring if missing, and the key for rows if the keyring lacks it."""
    path = settings.keyring_path
    if not path.exists():
        if await schema.any_token() and not replacing.keyring:
            raise KeyFileError(
                f"there is no keyring at {path}, but this database has tokens whose rows a key of "
                "it authenticates: with another one all of them are denied. Restore the file from "
                "the backup, copy it from another authority's host, or name it with "
                "RESCIND_KEYRING_FILE. If it is lost for good: deploy/runbooks/changed-postgres.md"
            )
        make_keys(settings, adopting=replacing.trust_rows)
    with secret_files.locked(path):
        keyring = Keyring.read(path)
        adopting = replacing.trust_rows or keyring.adopting
        if not keyring.rows:
            if await schema.any_mac() and not replacing.trust_rows:
                raise KeyFileError(
                    f"the keyring {path} has no key for rows, but rows of this database have MACs: "
                    "it is older than they are. Copy the newest one from another authority's host"
                )
            adopting = adopting or await schema.any_token()
        if not keyring.rows or adopting != keyring.adopting:
            # Before the first row gets its MAC: after an interruption, the next run uses this key.
            keyring.with_rows(adopting=adopting).write(path)
    make_keys(settings)


async def _adopt_rows(settings: AuthoritySettings, postgres: Postgres) -> None:
    """Add a MAC to the existing rows, if the keyring is marked as adopting."""
    keyring = _read_keyring(settings)
    if not keyring.adopting:
        return
    written = await RowRewriter(postgres, _build_guard(keyring), keyring).adopt()
    await _accept(settings, postgres, keyring, as_it_is=False)
    with secret_files.locked(settings.keyring_path):
        keyring = Keyring.read(settings.keyring_path)
        keyring.with_rows(adopting=False).write(settings.keyring_path)
    _log.warning("the existing rows have MACs", action="rows.adopted", rows=written)


async def _begin_index(settings: AuthoritySettings, postgres: Postgres) -> None:
    """Create the ledger index of this host if the ledger has no event yet."""
    if settings.ledger_index_path.exists():
        return
    keyring = _read_keyring(settings)
    tip = await PostgresLedger(postgres, _build_guard(keyring)).tip()
    if tip.position.seq == 0:
        await _accept(settings, postgres, keyring, as_it_is=False)


async def accept_ledger(settings: AuthoritySettings, *, as_it_is: bool) -> Position:
    """Accept the ledger in Postgres on this host, and return its end.

    Raises StoreForgedError if the ledger is not whole, unless `as_it_is` is set.
    """
    keyring = _read_keyring(settings)
    async with pool.connect(settings.postgres) as postgres:
        if as_it_is:
            await RowRewriter(postgres, _build_guard(keyring), keyring).head(adopting=True)
        end = await _accept(settings, postgres, keyring, as_it_is=as_it_is)
    _log.warning("this host accepts the ledger", action="ledger.accepted", seq=end.seq)
    return end


async def _accept(
    settings: AuthoritySettings, postgres: Postgres, keys: RowKeys, *, as_it_is: bool
) -> Position:
    with closing(LedgerIndex(settings.ledger_index_path)) as index:
        watch = LedgerWatch(index, keys, postgres.rows, reconnect=postgres.reconnect, begins=True)
        end = await (watch.accept_as_it_is() if as_it_is else watch.rebuild())
        index.sync()
    return end


async def former_rows(settings: AuthoritySettings) -> int:
    """Count the rows without a MAC of the key for rows in use."""
    keyring = _read_keyring(settings)
    async with pool.connect(settings.postgres) as postgres:
        return await RowRewriter(postgres, _build_guard(keyring), keyring).former()


def _build_guard(keys: RowKeys) -> RowGuard:
    """Return the row guard of a command, which does not log refused rows."""
    return RowGuard(keys, refused=lambda _name, _why: None)


def _guard_of(settings: AuthoritySettings) -> RowGuard:
    return _build_guard(_read_keyring(settings))


def _read_keyring(settings: AuthoritySettings) -> Keyring:
    """Read the keyring, and activate its due keys."""
    keyring = Keyring.read(settings.keyring_path)
    keyring.advance(SystemClock().wall_us())
    return keyring


async def _make_edge_key(settings: AuthoritySettings, schema: Schema, *, anew: bool) -> None:
    path = settings.edge_keys_path
    if not path.exists() and not anew and await schema.any_token():
        raise KeyFileError(
            f"there is no edge key at {path}, but this database has tokens that were tagged with "
            "one: with another key all of them are unknown. Restore the file from the backup, copy "
            "it from another authority's host, or name it with RESCIND_EDGE_KEY_FILE. If it is "
            "lost for good, `rescind migrate --new-edge-key` makes another one"
        )
    if secret_files.create_edge_key(path):
        _log.info("an edge key was made", action="edge_key.made", path=str(path))


async def _make_first_admin(
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
    minted = await root_admin.make_root(_build_issuer(settings, postgres), actor="migrate")
    # The row before the file: a crash between them leaves an admin token without a file, which
    # `recover admin` replaces. The other order would leave a file whose token is not accepted.
    if not secret_files.create(path, minted.secret.reveal()):
        raise KeyFileError(f"{path} appeared while it was being made. Run `rescind migrate` again.")
    return minted.token.grant.token_id


def _build_issuer(settings: AuthoritySettings, postgres: Postgres) -> Issuer:
    return Issuer(
        PostgresLedger(postgres, _guard_of(settings)),
        mint=TokenGenerator(
            clock=SystemClock(),
            entropy=secrets.token_bytes,
            edge_keys=ReloadingEdgeKeys(settings.edge_keys_path, SystemClock()),
            prefix=settings.token_prefix,
        ),
    )
