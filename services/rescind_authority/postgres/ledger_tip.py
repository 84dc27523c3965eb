"""The ledger's end, read from rows."""

from collections.abc import Sequence

import asyncpg

from rescind.core.ledger import Position
from rescind_authority.errors import NotMigratedError, StoreUnavailableError
from rescind_authority.ports.ledger import LedgerTip
from rescind_authority.postgres.integrity.row_guard import RowGuard


def tip_of(found: Sequence[asyncpg.Record], guard: RowGuard, *, seen: int = -1) -> LedgerTip:
    """Return the ledger's end. `seen` is the last seq that this host had seen before the read.

    Raises StoreUnavailableError if a standby answered, or if no authority wrote that end.
    """
    if not found:
        raise NotMigratedError
    row = found[0]
    if row["in_recovery"]:
        # A standby may be behind, or cut off from a new primary: its end may be outdated.
        raise StoreUnavailableError("this server is a standby, name the primary")
    guard.require_end(row, seen=seen)
    return LedgerTip(
        Position(row["epoch"], row["seq"], row["head"]), row["grant_term_ms"], row["at"]
    )
