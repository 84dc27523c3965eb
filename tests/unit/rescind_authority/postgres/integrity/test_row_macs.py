"""The MAC of a row: pinned bytes, and every column that counts."""

from ipaddress import IPv4Address
from typing import Any

import pytest

from rescind.core.token_format import Kind
from rescind_authority.postgres.integrity import row_macs
from rescind_authority.postgres.integrity.row_macs import COLUMNS, encode, genuine, mac_of

KEY, OTHER = bytes(range(32)), bytes(32)
TOKEN: dict[str, Any] = {
    "token_id": "tok_1",
    "token_hash": bytes(32),
    "kind": "agent",
    "subject": "agent:a",
    "scopes": ["search:read"],
    "audience": [],
    "tenant": None,
    "client": None,
    "session": None,
    "labels": {"b": "2", "a": "1"},
    "lineage": [],
    "chain": [],
    "handles": ["*", "token:tok_1"],
    "issued_at": 1_764_000_000_000_000,
    "issued_seq": 7,
    "not_before": None,
    "granted_until": 1_764_000_003_600_000,
    "created_by": "admin:root",
    "may_speak_for": [],
    "max_depth": None,
    "user_agent": None,
    "address": "192.0.2.7",
    "addresses": [],
    "verifier": {},
    "worst_posture": None,
    "most_instances": None,
    "possession_hash": None,
    "self_service": None,
    "max_overlap_us": 0,
    "reuse_denies": False,
    "changed_seq": None,
    "ended_seq": None,
}
SECRET: dict[str, Any] = {
    "token_hash": bytes(32),
    "token_id": "tok_1",
    "retired_at": 1,
    "good_until": 2,
    "revokes": True,
    "possession_hash": None,
    "ended_seq": None,
}
HEAD: dict[str, Any] = {"epoch": 1, "seq": 9, "head": bytes(32)}
ROWS = {"tokens": TOKEN, "retired_secrets": SECRET, "ledger_head": HEAD}


@pytest.mark.parametrize(
    ("table", "mac"),
    [
        (
            "tokens",
            "630dcd2966c433665e5fab37fb55740ea84bdbb58061bbb90ae94dffc0328574989737b0ca1bce02",
        ),
        (
            "retired_secrets",
            "630dcd2966c4336684bb7ba56872bd89111538f8657a5c1846526ad51ae9bb43776a2b1faa543194",
        ),
        (
            "ledger_head",
            "630dcd2966c43366d7c387509b6c61f1856b3f9b818f059a046dd5e95f63558c90ac817fd02623c2",
        ),
    ],
)
def test_the_bytes_of_a_mac_never_change(table: str, mac: str) -> None:
    assert mac_of([KEY], table, ROWS[table]).hex() == mac


@pytest.mark.parametrize(
    ("table", "column"),
    [(table, column) for table, columns in COLUMNS.items() for column in columns],
)
def test_every_column_counts(table: str, column: str) -> None:
    row = ROWS[table]
    mac = mac_of([KEY], table, row)
    assert genuine([KEY], table, row, mac)
    for other in ("x", 3, None, True, ["x"], {"x": "y"}, b"x"):
        if other != row[column]:
            assert not genuine([KEY], table, row | {column: other}, mac)


def test_the_encoding_separates_neighbouring_columns() -> None:
    joined = TOKEN | {"scopes": ["a", "b"], "audience": ["c"]}
    moved = TOKEN | {"scopes": ["a"], "audience": ["b", "c"]}
    assert encode("tokens", joined) != encode("tokens", moved)


def test_a_row_reads_the_same_as_it_was_written() -> None:
    written = TOKEN | {"kind": Kind.AGENT, "scopes": ("search:read",), "lineage": ()}
    read = TOKEN | {"address": IPv4Address("192.0.2.7"), "labels": {"a": "1", "b": "2"}}
    assert encode("tokens", written) == encode("tokens", read) == encode("tokens", TOKEN)


def test_a_mac_is_of_one_table_and_one_key() -> None:
    mac = mac_of([KEY, OTHER], "tokens", TOKEN)
    assert genuine([OTHER, KEY], "tokens", TOKEN, mac)
    assert not genuine([OTHER], "tokens", TOKEN, mac)
    same = {name: None for names in COLUMNS.values() for name in names}
    assert encode("tokens", same)[:32] != encode("retired_secrets", same)[:32]
    assert not genuine([KEY], "tokens", TOKEN, None)
    assert not genuine([KEY], "tokens", TOKEN, b"")
    assert row_macs.mac_of([OTHER], "tokens", TOKEN) != mac
