"""MACs of rows, which show that an authority wrote them, under a key that is not in Postgres.

A MAC is the first 8 bytes of the key's SHA-256, then HMAC-SHA-256 of the covered columns, packed in
the order of `COLUMNS`. A token may end sooner than its MAC states (`expires_at` is at most
`granted_until`), but never later. So a statement that writes no MAC can end sessions.
"""

import hmac
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import msgpack

from rescind.wire.trust_statement import KEY_ID_BYTES, key_id

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "tokens": (
        *("token_id", "token_hash", "kind", "subject", "scopes", "audience", "tenant", "client"),
        *("session", "labels", "lineage", "chain", "handles", "issued_at", "issued_seq"),
        *("not_before", "granted_until", "created_by", "may_speak_for", "max_depth"),
        *("user_agent", "address", "addresses", "verifier", "worst_posture", "most_instances"),
        *("possession_hash", "self_service", "max_overlap_us", "reuse_denies"),
        *("changed_seq", "ended_seq"),
    ),
    "retired_secrets": (
        *("token_hash", "token_id", "retired_at", "good_until", "revokes", "possession_hash"),
        "ended_seq",
    ),
    "ledger_head": ("epoch", "seq", "head"),
}
"""The columns of each table that its MAC covers. Append only: the order is part of the MAC."""

_LABEL = b"rescind row 1\0"


class RowKeys(Protocol):
    """The keys that authenticate rows."""

    @property
    def rows(self) -> tuple[bytes, ...]:
        """Return the keys; the first one is in use."""
        ...


class Row(Protocol):
    """A row by the names of its columns: a record of the driver, or a dict."""

    def __getitem__(self, name: str, /) -> Any:
        """Return a column."""
        ...


def encode(table: str, row: Row) -> bytes:
    """Return the canonical bytes of the covered columns."""
    return _LABEL + msgpack.packb([table, *(_plain(row[name]) for name in COLUMNS[table])])


def mac_of(keys: Sequence[bytes], table: str, row: Row) -> bytes:
    """Return the MAC of a row under the key in use, which is the first one."""
    return key_id(keys[0]) + hmac.digest(keys[0], encode(table, row), "sha256")


def genuine(keys: Sequence[bytes], table: str, row: Row, mac: bytes | None) -> bool:
    """Return True if one of the keys made this MAC for this row."""
    if mac is None:
        return False
    name, tag = mac[:KEY_ID_BYTES], mac[KEY_ID_BYTES:]
    return any(
        key_id(key) == name
        and hmac.compare_digest(tag, hmac.digest(key, encode(table, row), "sha256"))
        for key in keys
    )


def _plain(found: object) -> object:
    """Return a column in its packed form, whether read from Postgres or written to it."""
    if isinstance(found, Mapping):
        return sorted(cast("Mapping[str, str]", found).items())
    if found is None or isinstance(found, (bool, int, bytes, list)):
        return cast("object", found)
    if isinstance(found, tuple):
        return list(cast("tuple[object, ...]", found))
    return str(found)
