"""Checks of rows, before their content is signed or returned.

A row that differs from what an authority wrote is left out, as if it were missing: every verifier
then denies its token. It is logged once a minute, counted and audited; other rows are not affected.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

from rescind.core.handles import Handle
from rescind.core.revocation import Event
from rescind_authority.errors import StoreForgedError
from rescind_authority.ledger_index import digest_of
from rescind_authority.ports.tokens import Candidate
from rescind_authority.postgres.integrity import row_macs
from rescind_authority.postgres.integrity.ledger_watch import LedgerWatch, Read
from rescind_authority.postgres.integrity.row_macs import Row, RowKeys

Refused = Callable[[str, str], None]
"""Called with the name of a refused row, and the reason."""


class StaleSnapshotError(Exception):
    """Raised for a snapshot older than the ledger that this host has seen; read it again."""


class RowGuard:
    """Compute the MACs of rows, and check rows against the ledger that this host has seen.

    `watch` is None in a command that signs nothing that it reads.
    """

    def __init__(
        self, keys: RowKeys, *, refused: Refused, watch: LedgerWatch | None = None
    ) -> None:
        self._keys = keys
        self._refused = refused
        self._watch = watch

    @property
    def seen(self) -> int:
        """Return the last seq that this host has seen; callers store it before a read."""
        return -1 if self._watch is None else self._watch.seq

    async def verify_up_to(self, seq: int, read: Read) -> None:
        """Follow the ledger at least up to a seq. Raises StoreForgedError."""
        if self._watch is not None:
            await self._watch.verify_up_to(seq, read)

    def mac(self, table: str, row: Row) -> bytes:
        """Return the MAC of a row that is about to be written."""
        return row_macs.mac_of(self._keys.rows, table, row)

    async def follow_to_end(self, read: Read) -> None:
        """Follow the ledger to its end, after a read of an older end. Raises StoreForgedError."""
        if self._watch is not None:
            await self._watch.follow(read)

    def is_sound(self, found: Row) -> bool:
        """Return True if a token, its old secret and all its ancestors are as they were written.

        `found` contains them as `whole`, `secret` and `line`, in a snapshot of `as_of`. Raises
        StaleSnapshotError.
        """
        token, secret, ancestors = found["whole"], found["secret"], found["line"]
        return self._report_first(
            token, self._find_problems(token, secret, ancestors, as_of=found["as_of"])
        )

    def is_complete(self, found: Row, candidates: Collection[Candidate]) -> bool:
        """Return True if a token was read with every revocation that may apply to it."""
        token = found["whole"]
        missing = self._find_missing(
            token["handles"], candidates, issued_seq=token["issued_seq"], as_of=found["as_of"]
        )
        return self._report_first(token, iter(missing))

    def require_complete(
        self, handles: Collection[Handle], candidates: Collection[Candidate], *, as_of: int
    ) -> None:
        """Raise StoreForgedError if a standing revocation was not read."""
        for problem in self._find_missing(handles, candidates, issued_seq=as_of, as_of=as_of):
            raise StoreForgedError(problem)

    def knows(self, event: Event) -> bool:
        """Return True if a revocation is in the ledger as it was read."""
        return self._watch is None or self._watch.index.knows(event)

    def _find_missing(
        self,
        handles: Collection[Handle],
        candidates: Collection[Candidate],
        *,
        issued_seq: int,
        as_of: int,
    ) -> list[str]:
        if self._watch is None:
            return []
        read = {(each.event.seq, digest_of(each.event)) for each in candidates}
        required = self._watch.index.required(handles, issued_seq=issued_seq, as_of=as_of)
        return [
            f"the revocation at seq {each.seq} is missing, or another one"
            for each in required
            if (each.seq, each.digest) not in read
        ]

    def is_token_sound(self, token: Row) -> bool:
        """Return True if a token is as it was written, regardless of its ancestors."""
        return self._report_first(token, self._find_token_problems(token))

    def is_secret_sound(self, secret: Row) -> bool:
        """Return True if a rotated secret is as it was written."""
        return self._is_genuine("retired_secrets", secret)

    def _report_first(self, token: Row, problems: Iterator[str]) -> bool:
        problem = next(problems, None)
        if problem is not None:
            self._refused(token["token_id"], problem)
        return problem is None

    def _find_problems(
        self, token: Row, secret: Row | None, ancestors: Sequence[Row], *, as_of: int
    ) -> Iterator[str]:
        yield from self._find_token_problems(token, as_of)
        if secret is not None and not (
            secret["token_id"] == token["token_id"] and self.is_secret_sound(secret)
        ):
            yield "the MAC of its rotated secret is not genuine"
        if {each["token_id"] for each in ancestors} != set(token["lineage"]):
            yield "an ancestor of it is missing"
        for ancestor in ancestors:
            yield from (
                f"its ancestor: {why}" for why in self._find_token_problems(ancestor, as_of)
            )

    def _find_token_problems(self, token: Row, as_of: int | None = None) -> Iterator[str]:
        if not self._is_genuine("tokens", token):
            yield "its MAC is not genuine" if token["mac"] else "it has no MAC"
        elif token["expires_at"] > token["granted_until"]:
            yield "it ends later than an authority wrote"
        elif as_of is not None and token["issued_seq"] > as_of:
            yield "it was issued after the end of this ledger"
        elif self._watch is not None:
            changed = self._watch.index.changed(token["token_id"])
            if changed != token["changed_seq"]:
                if changed is not None and as_of is not None and changed > as_of:
                    raise StaleSnapshotError
                yield "it is older than the last event that changed it"

    def _is_genuine(self, table: str, row: Row) -> bool:
        return row_macs.genuine(self._keys.rows, table, row, row["mac"])

    def require_end(self, row: Row, *, seen: int) -> None:
        """Raise StoreForgedError unless this is an end of the ledger that authorities wrote.

        `seen` is the last seq that this host had seen before the row was read.
        """
        if self._watch is not None:
            self._watch.require_end(row, seen=seen)
        elif row["seq"] and not self._is_genuine("ledger_head", row):
            raise StoreForgedError("no authority wrote the ledger's end in Postgres")
