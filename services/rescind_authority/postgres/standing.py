"""The ledger's end, as rows say it."""

from collections.abc import Sequence

import asyncpg

from rescind.core.ledger import Position
from rescind_authority.errors import NotMigratedError, StoreUnavailableError
from rescind_authority.ports.ledger import Standing


def standing_of(found: Sequence[asyncpg.Record]) -> Standing:
    """Return the ledger's end. Raises StoreUnavailableError where a standby was asked."""
    if not found:
        raise NotMigratedError
    row = found[0]
    if row["in_recovery"]:
        # A standby may be behind, or cut off from a new primary: what it shows is no end.
        raise StoreUnavailableError("this server is a standby, name the primary")
    return Standing(
        Position(row["epoch"], row["seq"], row["head"]), row["grant_term_ms"], row["at"]
    )
