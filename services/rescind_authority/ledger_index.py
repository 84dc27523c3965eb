"""The ledger index: the ledger that a host has seen, in a file that is not in Postgres.

It contains the position with its head, the revocations that may apply to tokens, and the last event
that changed each token. It is a SQLite file, which several authorities of one host share. Handles
and events are stored as short hashes.
"""

import sqlite3
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import msgpack

from rescind.core.handles import Handle
from rescind.core.ledger import Position
from rescind.core.revocation import NOT_RESTRICTING, Effect, Event
from rescind_authority.errors import KeyFileError, StoreContendedError
from rescind_authority.usecases.validation import MAX_TTL_S

KEPT_US = (MAX_TTL_S + 86_400) * 1_000_000
"""A day longer than any token lives: no earlier revoke or change concerns a live token."""

_HASH_BYTES = 8
_BUSY_S = 0.2
_SCHEMA = """
-- `holds` are restrictions: files from before that term have the table under this name.
CREATE TABLE IF NOT EXISTS position (
    one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER, seq INTEGER, head BLOB
);
CREATE TABLE IF NOT EXISTS holds (
    anchor BLOB, seq INTEGER, id BLOB, stands INTEGER, at_us INTEGER, digest BLOB, selector BLOB,
    PRIMARY KEY (anchor, seq)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS holds_id ON holds (id) WHERE stands;
CREATE TABLE IF NOT EXISTS changes (
    token BLOB PRIMARY KEY, seq INTEGER, at_us INTEGER
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Required:
    """A revocation that must be read together with a token that has its handles."""

    seq: int
    digest: bytes


class LedgerIndex:
    """The ledger index. Without a path it is only in memory, for a process that ends soon."""

    def __init__(self, path: Path | None) -> None:
        """Open or create the file. Raises KeyFileError."""
        self._path = path
        try:
            if path is not None and not path.exists():
                path.touch(mode=0o600)
            self._file = sqlite3.connect(
                ":memory:" if path is None else path, timeout=_BUSY_S, isolation_level=None
            )
            self._file.execute("PRAGMA journal_mode = WAL")
            # Data lost in a power cut is read again from Postgres, from the file's position on.
            self._file.execute("PRAGMA synchronous = NORMAL")
            self._file.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise KeyFileError(f"the ledger index {path} cannot be used: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def position(self) -> Position | None:
        """Return the position up to which this host has seen the ledger; None: nothing."""
        found = self._file.execute("SELECT epoch, seq, head FROM position").fetchone()
        return None if found is None else Position(*found)

    @contextmanager
    def changing(self) -> Generator[None]:
        """Change the index in one transaction.

        Raises StoreContendedError while another authority of this host changes it.
        """
        try:
            self._file.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise StoreContendedError("LedgerIndex") from error
        try:
            yield
        except BaseException:
            self._file.execute("ROLLBACK")
            raise
        self._file.execute("COMMIT")

    def forget(self) -> None:
        """Delete all content: the ledger is then read from its beginning."""
        for table in ("position", "holds", "changes"):
            self._file.execute(f"DELETE FROM {table}")  # noqa: S608 - ours alone

    def move(self, position: Position) -> None:
        """Set the position."""
        self._file.execute(
            "INSERT OR REPLACE INTO position VALUES (1, ?, ?, ?)",
            (position.epoch, position.seq, position.head),
        )

    def add(self, event: Event) -> None:
        """Add the effect of one event on tokens."""
        revocation = event.revocation
        anchor = revocation.selector.anchor
        if revocation.effect == Effect.CHANGED:
            token = short(anchor.partition(":")[2])
            self._file.execute(
                "INSERT OR REPLACE INTO changes VALUES (?, ?, ?)", (token, event.seq, event.at_us)
            )
        elif revocation.effect == Effect.LIFT:
            if revocation.lifts is not None:
                self._file.execute(
                    "DELETE FROM holds WHERE id = ? AND stands", (short(revocation.lifts),)
                )
        elif revocation.effect not in NOT_RESTRICTING:
            self._file.execute(
                "INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    short(anchor),
                    event.seq,
                    short(revocation.revocation_id),
                    revocation.effect != Effect.REVOKE,
                    event.at_us,
                    digest_of(event),
                    b"".join(map(short, revocation.selector.handles)),
                ),
            )

    def changed(self, token_id: str) -> int | None:
        """Return the seq of the last event that changed a token, or None."""
        found = self._file.execute(
            "SELECT seq FROM changes WHERE token = ?", (short(token_id),)
        ).fetchone()
        return None if found is None else int(found[0])

    def required(
        self, handles: Collection[Handle], *, issued_seq: int, as_of: int
    ) -> list[Required]:
        """List the revocations to be read with a token issued at `issued_seq`, as of `as_of`."""
        known = {short(handle) for handle in handles}
        marks = ",".join("?" * len(known))
        found = self._file.execute(
            "SELECT seq, digest, selector FROM holds "  # noqa: S608 - marks alone
            f"WHERE anchor IN ({marks}) AND seq <= ? AND (stands OR seq > ?)",
            (*known, as_of, issued_seq),
        )
        return [
            Required(seq, digest)
            for seq, digest, selector in found
            if known.issuperset(_cut(selector))
        ]

    def knows(self, event: Event) -> bool:
        """Return True if exactly this event may apply to tokens now."""
        found = self._file.execute(
            "SELECT digest FROM holds WHERE anchor = ? AND seq = ?",
            (short(event.revocation.selector.anchor), event.seq),
        ).fetchone()
        return found is not None and found[0] == digest_of(event)

    def prune(self, before_us: int) -> None:
        """Delete revokes and changes from before a time, before which no live token was issued."""
        self._file.execute("DELETE FROM holds WHERE NOT stands AND at_us < ?", (before_us,))
        self._file.execute("DELETE FROM changes WHERE at_us < ?", (before_us,))

    def sync(self) -> None:
        """Flush all changes to disk."""
        with suppress(sqlite3.OperationalError):  # the next call does it
            self._file.execute("PRAGMA wal_checkpoint(FULL)")


def digest_of(event: Event) -> bytes:
    """Return a hash of the fields that decide which tokens an event hits, and until when."""
    revocation = event.revocation
    content = msgpack.packb(
        [
            event.seq,
            revocation.revocation_id,
            str(revocation.effect),
            sorted(revocation.selector.handles),
            revocation.issued_before_us,
            revocation.until_us,
            sorted(revocation.scopes),
        ]
    )
    return blake2b(content, digest_size=16).digest()


def short(text: str) -> bytes:
    """Return the short hash of a handle or a name."""
    return blake2b(text.encode(), digest_size=_HASH_BYTES).digest()


def _cut(selector: bytes) -> Sequence[bytes]:
    places = range(0, len(selector), _HASH_BYTES)
    return [selector[place : place + _HASH_BYTES] for place in places]
