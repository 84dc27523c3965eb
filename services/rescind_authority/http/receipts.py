"""Receipts as JSON: what a person reads, and beside it the bytes that were signed."""

import base64
from datetime import datetime
from typing import Literal, TypeVar

from fastapi import Response, status
from pydantic import BaseModel, Field

from rescind.wire import documents, receipts, sealed
from rescind_authority.http.context import UseCases
from rescind_authority.usecases.sequence import Committed
from rescind_authority.usecases.wait import Progress, Target

LONGEST_WAIT_S = 600


class VerifierFacts(BaseModel):
    """One verifier, and how long after the commit it was out of danger."""

    instance: str
    service: str
    outcome: Literal["acknowledged", "released", "lapsed"]
    latency_ms: float


class LenientFacts(BaseModel):
    """One verifier in grace that had not said that it knows."""

    instance: str
    service: str
    until: datetime = Field(description="From then on it accepts nothing that was revoked.")


class EventFacts(BaseModel):
    """What was committed, as the ledger has it: part of what a receipt signs."""

    epoch: int
    seq: int
    at: datetime
    id: str
    effect: str
    selector: list[str]
    scopes: list[str]
    issued_before: datetime | None
    until: datetime | None
    lifts: str | None
    reason: str
    actor: str


class ReceiptFacts(BaseModel):
    """That a revocation is enforced: no check that starts now is accepted by such a verifier."""

    revocation_id: str
    epoch: int
    seq: int
    events: list[EventFacts] = Field(description="What it is that is enforced; two of a kill.")
    committed_at: datetime
    enforced_at: datetime
    verifiers: list[VerifierFacts]
    grace: list[LenientFacts] = Field(description="Where the guarantee does not hold.")
    unknown_grace_until: datetime | None = Field(
        description="Set for a while after a new epoch: until then, verifiers that began after the "
        "backup, which this ledger does not know, may be in grace. The guarantee fails there."
    )
    key_id: str
    signature: str = Field(description="Ed25519, of the content, in hex.")
    content: str = Field(description="The bytes that were signed, in base64.")
    statement: str = Field(description="The root key's statement of who may sign, in base64.")


class ProgressFacts(BaseModel):
    """How far a wait has come; in `lapse_in_s` seconds the rest has lapsed."""

    acknowledged: int
    released: int
    lapsed: int
    grace: int = Field(description="Verifiers in grace that have said nothing: not waited for.")
    of: int
    lapse_in_s: float


class Awaited(BaseModel):
    """What may be waited for: how far it has come, and the receipt when it is enforced."""

    state: Literal["committed", "enforced"] = "committed"
    receipt: ReceiptFacts | None = None
    progress: ProgressFacts | None = None


_Facts = TypeVar("_Facts", bound=Awaited)


async def enforced(
    facts: _Facts,
    committed: Committed,
    authority: UseCases,
    response: Response,
    *,
    timeout_s: float | None,
) -> _Facts:
    """Wait until it is enforced, and say so with the receipt; 202 when the time runs out first."""
    target = Target(committed.revocation_id, committed.epoch, committed.seq, committed.at_us)
    found = await authority.enforcer.receipt(
        target, timeout_s=timeout_s or LONGEST_WAIT_S, fresh=committed.fresh
    )
    if isinstance(found, bytes):
        return with_receipt(facts, found, authority)
    response.status_code = status.HTTP_202_ACCEPTED
    return facts.model_copy(update={"progress": progress(found)})


def with_receipt(facts: _Facts, envelope: bytes, authority: UseCases) -> _Facts:
    """Add a receipt that is there."""
    shown = document(envelope, statement=authority.keys.statement)
    return facts.model_copy(update={"state": "enforced", "receipt": shown})


def document(envelope: bytes, *, statement: bytes) -> ReceiptFacts:
    """Show a receipt."""
    signed = sealed.decode(envelope)
    shown = documents.of_receipt(receipts.decode(signed.content))
    return ReceiptFacts.model_validate(
        shown
        | {
            "key_id": signed.key_id.hex(),
            "signature": signed.signature.hex(),
            "content": base64.b64encode(signed.content).decode(),
            "statement": base64.b64encode(statement).decode(),
        }
    )


def progress(found: Progress) -> ProgressFacts:
    """Show how far a wait has come."""
    return ProgressFacts(
        acknowledged=found.acknowledged,
        released=found.released,
        lapsed=found.lapsed,
        grace=found.grace,
        of=found.of,
        lapse_in_s=round(found.lapse_in_s, 3),
    )
