"""Token changes of one transaction, held until its events have positions and rows get MACs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from rescind.core.revocation import Effect
from rescind_authority.ports.ledger import (
    Change,
    End,
    Expiry,
    LedgerEntry,
    RecordedChange,
    Rotation,
)
from rescind_authority.postgres.integrity.row_guard import RowGuard


@dataclass(frozen=True, slots=True)
class ChangedToken:
    """The columns written to a token with its event. `mac` is None if its row was not sound."""

    token_id: str
    changed_seq: int
    ended_seq: int | None
    mac: bytes | None


@dataclass(frozen=True, slots=True)
class ChangedSecret:
    """The columns written to a rotated secret."""

    token_hash: bytes
    ended_seq: int | None
    mac: bytes | None


class Changes:
    """Collect the rows of one transaction, each in its state after the last statement."""

    def __init__(self, guard: RowGuard) -> None:
        self._guard = guard
        self._tokens: dict[str, dict[str, Any] | None] = {}
        self._secrets: dict[bytes, dict[str, Any] | None] = {}

    def record_change(self, change: Change, found: asyncpg.Record) -> RecordedChange | None:
        """Record the change of a statement, and return what its event ends.

        Returns None for the rotation of a token whose row is not as an authority wrote it: an
        authority did not decide its grant, and the MAC of a rotated row would confirm that grant.
        Such a token may still end.
        """
        match change:
            case Rotation():
                if not self._record_token(found["before"], found["whole"]):
                    return None
                self._secrets[found["secret"]["token_hash"]] = dict(found["secret"])
                replaced = found["secret"]["token_hash"]
                return RecordedChange(End(change.token_id, replaced) if found["over"] else None)
            case Expiry():
                self._record_token(found["whole"], found["whole"])
                return RecordedChange(End(change.token_id) if found["over"] else None)
            case End():
                self._record_token(found["whole"], found["whole"])
                self._record_secret(found["secret"])
                return RecordedChange(change)

    def _record_token(self, before: asyncpg.Record, after: asyncpg.Record) -> bool:
        """Record the current row of a token, if it was sound before this transaction changed it."""
        token_id = after["token_id"]
        if token_id in self._tokens:
            sound = self._tokens[token_id] is not None
        else:
            sound = self._guard.is_token_sound(before)
        self._tokens[token_id] = dict(after) if sound else None
        return sound

    def _record_secret(self, secret: asyncpg.Record | None) -> None:
        if secret is None:
            return
        token_hash = secret["token_hash"]
        sound = token_hash in self._secrets or self._guard.is_secret_sound(secret)
        self._secrets[token_hash] = dict(secret) if sound else None

    def columns(
        self, entries: Sequence[LedgerEntry], ends: Mapping[End, int]
    ) -> tuple[list[ChangedToken], list[ChangedSecret]]:
        """Return the columns to write, after the events have positions."""
        changed = _last_changes(entries)
        tokens = [
            self._token_columns(token_id, row, changed[token_id], ends.get(End(token_id)))
            for token_id, row in self._tokens.items()
            if token_id in changed
        ]
        ended = {each.token_hash: seq for each, seq in ends.items() if each.token_hash}
        secrets = [
            self._secret_columns(token_hash, row, ended.get(token_hash))
            for token_hash, row in self._secrets.items()
        ]
        return tokens, secrets

    def _token_columns(
        self, token_id: str, row: dict[str, Any] | None, seq: int, ended_seq: int | None
    ) -> ChangedToken:
        if row is None:
            return ChangedToken(token_id, seq, ended_seq, None)
        ended_seq = ended_seq if row["ended_seq"] is None else row["ended_seq"]
        granted_until = min(row["granted_until"], row["expires_at"])
        columns = row | {"changed_seq": seq, "ended_seq": ended_seq, "granted_until": granted_until}
        return ChangedToken(token_id, seq, ended_seq, self._guard.mac("tokens", columns))

    def _secret_columns(
        self, token_hash: bytes, row: dict[str, Any] | None, ended_seq: int | None
    ) -> ChangedSecret:
        if row is None:
            return ChangedSecret(token_hash, ended_seq, None)
        ended_seq = ended_seq if row["ended_seq"] is None else row["ended_seq"]
        columns = row | {"ended_seq": ended_seq}
        return ChangedSecret(token_hash, ended_seq, self._guard.mac("retired_secrets", columns))


def _last_changes(entries: Sequence[LedgerEntry]) -> dict[str, int]:
    """Return the seq of the last event of a batch that changed each token."""
    return {
        entry.event.revocation.selector.anchor.partition(":")[2]: entry.event.seq
        for entry in entries
        if entry.event.revocation.effect == Effect.CHANGED
    }
