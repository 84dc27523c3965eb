"""The audit, as far as it is written beside the ledger's own transactions."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RefusedCall:
    """A call that was refused. `actor` is None where no token of ours says who called.

    `call` is the operation: a method and the path of its route, or `enrol`. `status` is that of the
    answer; `withheld` counts those of the same source that were refused since the last one, and
    are in no entry. Nothing of it holds a token.
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
        """Keep refused calls. Raises StoreUnavailableError."""
        ...
