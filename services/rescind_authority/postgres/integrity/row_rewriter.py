"""Rows that get a new MAC: from before there were MACs, or of a rotated key."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import asyncpg

from rescind.wire.trust_statement import KEY_ID_BYTES, key_id
from rescind_authority.postgres.integrity.row_guard import RowGuard
from rescind_authority.postgres.integrity.row_macs import RowKeys
from rescind_authority.postgres.pool import Borrowed, Postgres, rows

BATCH = 500

_Write = Callable[[Borrowed, Sequence[asyncpg.Record]], Awaitable[int]]


class RowRewriter:
    """Rewrite the MAC of rows with the key in use, in batches of one transaction each."""

    def __init__(self, postgres: Postgres, guard: RowGuard, keys: RowKeys) -> None:
        self._postgres = postgres
        self._guard = guard
        self._keys = keys

    async def adopt(self) -> int:
        """Add a MAC to every row, genuine or not. Return how many were rewritten.

        The end of the ledger comes last: its MAC shows that all rows have one.
        """
        return await self._write_all(adopting=True)

    async def renew(self) -> int:
        """Rewrite each genuine MAC of a former key. Return how many were rewritten."""
        return await self._write_all(adopting=False)

    async def former(self) -> int:
        """Count the rows whose MAC is not that of the key in use, or that have none."""
        return await self._count_former("token_macs", "token_id", "") + await self._count_former(
            "secret_macs", "token_hash", b""
        )

    async def _count_former(self, query: str, key: str, after: str | bytes) -> int:
        count = 0
        while found := await self._postgres.rows(query, after, 20 * BATCH):
            after = found[-1][key]
            count += sum(self._is_former(each["mac"]) for each in found)
        return count

    async def _write_all(self, *, adopting: bool) -> int:
        tokens = partial(self._write_tokens, adopting=adopting)
        secrets = partial(self._write_secrets, adopting=adopting)
        written = await self._write_table("lock_token_rows", "token_id", "", tokens)
        written += await self._write_table("lock_secret_rows", "token_hash", b"", secrets)
        await self.head(adopting=adopting)
        return written

    async def _write_table(self, query: str, key: str, after: str | bytes, write: _Write) -> int:
        """Write the rows of a table, in batches by their key. Return how many were written."""
        written = 0
        while True:
            async with self._postgres.transaction() as connection:
                found = await rows(connection, query, after, BATCH)
                written += await write(connection, found)
            if len(found) < BATCH:
                return written
            after = found[-1]["whole"][key]

    async def _write_tokens(
        self, connection: Borrowed, found: Sequence[asyncpg.Record], *, adopting: bool
    ) -> int:
        if adopting:
            fresh = [_with_mac_columns(each) for each in found]
        else:
            fresh = [
                dict(token)
                for token in (each["whole"] for each in found)
                if self._is_former(token["mac"]) and self._guard.is_token_sound(token)
            ]
        if fresh:
            await rows(
                connection,
                "write_token_macs",
                [each["token_id"] for each in fresh],
                [each["granted_until"] for each in fresh],
                [each["changed_seq"] for each in fresh],
                [self._guard.mac("tokens", each) for each in fresh],
            )
        return len(fresh)

    async def _write_secrets(
        self, connection: Borrowed, found: Sequence[asyncpg.Record], *, adopting: bool
    ) -> int:
        fresh = [
            secret
            for secret in (each["whole"] for each in found)
            if adopting or (self._is_former(secret["mac"]) and self._guard.is_secret_sound(secret))
        ]
        if fresh:
            await rows(
                connection,
                "write_secret_macs",
                [each["token_hash"] for each in fresh],
                [self._guard.mac("retired_secrets", each) for each in fresh],
            )
        return len(fresh)

    async def head(self, *, adopting: bool) -> None:
        """Rewrite the MAC of the ledger's end; unless `adopting`, only if it is genuine."""
        async with self._postgres.transaction() as connection:
            (head,) = await rows(connection, "lock_head")
            if not adopting:
                self._guard.require_end(head, seen=-1)
            await rows(connection, "write_head_mac", self._guard.mac("ledger_head", head))

    def _is_former(self, mac: bytes | None) -> bool:
        return mac is None or mac[:KEY_ID_BYTES] != key_id(self._keys.rows[0])


def _with_mac_columns(found: asyncpg.Record) -> dict[str, Any]:
    """Return the row to write for a token from before there were MACs."""
    token = dict(found["whole"])
    return token | {"granted_until": token["expires_at"], "changed_seq": found["changed_seq"]}
