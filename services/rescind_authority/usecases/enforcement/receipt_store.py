"""Sign receipts, store them, and read them again."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import structlog

from rescind.core.receipt import Receipt
from rescind.errors import MalformedMessageError, RescindError
from rescind.wire import receipt_details, signed_envelope
from rescind.wire import receipts as wire
from rescind.wire.receipt_details import DetailsPage
from rescind.wire.trust_statement import Purpose
from rescind_authority.errors import AlteredReceiptError
from rescind_authority.ports.keys import Keys
from rescind_authority.ports.leases import Receipts
from rescind_authority.ports.ledger import CommittedEvent, LedgerEntry
from rescind_authority.usecases.enforcement.wait import is_lost

_RETRY_S = 0.1

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class ReceiptStore:
    """Store one receipt for each revocation: the first that any authority has signed."""

    def __init__(self, receipts: Receipts, keys: Keys) -> None:
        self._receipts = receipts
        self._keys = keys

    async def get(self, revocation_id: str) -> bytes | None:
        """Return the stored receipt of a revocation, or None."""
        return await self._receipts.get(revocation_id)

    async def page(self, receipt: Receipt, *, cursor: int, limit: int) -> DetailsPage:
        """Return a page of a receipt's verifiers.

        If the receipt is a summary, the page comes from the stored details. Raises
        AlteredReceiptError if the stored details are not the signed ones.
        """
        numbers = receipt_details.span(receipt, cursor=cursor, limit=limit)
        chunks: tuple[bytes, ...] = ()
        if receipt.summary is not None:
            chunks = await self._receipts.details(receipt.revocation_id, numbers)
        try:
            return receipt_details.page(receipt, chunks, cursor=cursor, limit=limit)
        except MalformedMessageError as error:
            raise AlteredReceiptError(receipt.revocation_id, error.problem) from error

    async def sign_and_store(
        self, receipt: Receipt, target: CommittedEvent, entries: Sequence[LedgerEntry]
    ) -> bytes | None:
        """Sign and store a receipt with the entries of its event, and return the stored receipt.

        Return None if a restore lost the event. Retries until Postgres answers. Raises
        TooLargeError.
        """
        receipt = replace(receipt, payloads=tuple(each.payload for each in entries))
        # Data that is too large raises an error here, before anything is signed.
        stated, chunks = receipt_details.divide(receipt)
        envelope = signed_envelope.encode(self._keys.sign(Purpose.RECEIPTS, wire.encode(stated)))
        while True:
            # If the outcome of a commit is unknown, store again: the commit of the repeat decides.
            with suppress(RescindError):
                stored = await self._receipts.keep(
                    receipt.revocation_id,
                    enforced_at_us=receipt.enforced_at_us,
                    envelope=envelope,
                    chunks=chunks,
                )
                if stored is not None or await self.has_lost(target):
                    _log_outcome(receipt.revocation_id, stored)
                    return stored
            await asyncio.sleep(_RETRY_S)

    async def has_lost(self, target: CommittedEvent) -> bool:
        """Return True if a new snapshot proves that the event is lost. Raises RescindError."""
        return is_lost(target, await self._receipts.waiting(target.revocation_id))


def _log_outcome(revocation_id: str, stored: bytes | None) -> None:
    if stored is not None:
        _log.info("enforced", action="revocation.enforced", id=revocation_id)
    else:
        _log.error(
            "the ledger was set back while this was waited for: there is no receipt",
            action="revocation.lost",
            id=revocation_id,
        )
