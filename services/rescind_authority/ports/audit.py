"""The audit, except for the entries that the ledger's transactions write."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RefusedCall:
    """A refused call. `actor` is None if no token of this installation identifies the caller.

    `call` is the operation: a method and the path of its route, or `enrol`. `status` is that of the
    answer. `withheld` counts the refused calls of the same source since the last entry, which have
    no entry of their own. No field contains a token.
    """

    actor: str | None
    call: str
    status: int
    why: str
    source: str | None
    withheld: int


class Audit(Protocol):
    """Write to the audit."""

    async def refused(self, refusals: Collection[RefusedCall]) -> None:
        """Store refused calls. Raises StoreUnavailableError."""
        ...
