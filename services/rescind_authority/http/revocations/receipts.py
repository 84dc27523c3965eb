"""Receipts as JSON: what a person reads, and beside it the bytes that were signed."""

import base64
from datetime import datetime
from typing import Literal, TypeVar

from fastapi import Response, status
from pydantic import BaseModel, ConfigDict, Field

from rescind.core.receipt import Receipt
from rescind.wire import json_documents, receipts, signed_envelope
from rescind.wire.receipt_details import DetailsPage
from rescind.wire.signed_envelope import SignedEnvelope
from rescind_authority.http.dependencies import UseCases
from rescind_authority.usecases.enforcement.wait import AwaitedEvent, EnforcementProgress
from rescind_authority.usecases.ledger.sequencer import Committed

LONGEST_WAIT_S = 600
ALWAYS_THERE = ConfigDict(json_schema_serialization_defaults_required=True)
"""Answers have every field, also one with a default: the schema says so."""

MOST_VERIFIERS = 1_000
"""How many verifiers an answer lists at most: all of a receipt that names them itself."""


class VerifierFacts(BaseModel):
    """One verifier, and how long after the commit it was out of danger."""

    instance: str
    service: str
    outcome: Literal["acknowledged", "released", "lapsed"]
    latency_ms: float = Field(
        description="At most: without a wait, the authority learns of it by a heartbeat, and sees "
        "that within a second."
    )


class LenientFacts(BaseModel):
    """One verifier in grace that had not said that it knows."""

    instance: str
    service: str
    until: datetime = Field(description="From then on it accepts nothing that was revoked.")


class TallyFacts(BaseModel):
    """How the verifiers of one service got there."""

    service: str
    acknowledged: int
    released: int
    lapsed: int
    grace: int
    slowest_ms: float


class SummaryFacts(BaseModel):
    """How many verifiers got there, and how; of a large receipt, this is what it signs."""

    verifiers: int = Field(description="Those of `acknowledged`, `released` and `lapsed`.")
    acknowledged: int
    released: int
    lapsed: int
    grace: int = Field(description="Verifiers where the guarantee does not hold yet.")
    grace_until: datetime | None = Field(description="When the last of these is over.")
    services: list[TallyFacts] = Field(description="Those with most verifiers, at most 200.")
    services_left: int = Field(description="How many services are not listed.")
    notable: list[VerifierFacts] = Field(
        description="Those that lapsed, at most 500, and the 50 slowest of the others."
    )


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
    enforced_at: datetime = Field(
        description="From when on it is enforced. If it was asked for later: when the last "
        "verifier had got there, or, where this authority did not watch all of it, when it was "
        "asked for."
    )
    verifiers: list[VerifierFacts] = Field(
        description="A page of them, at most 1,000; `summary.verifiers` is how many there are."
    )
    grace: list[LenientFacts] = Field(
        description="Where the guarantee does not hold: the first 500, and on later pages the rest."
    )
    unknown_grace_until: datetime | None = Field(
        description="Set for a while after a new epoch: until then, verifiers that began after the "
        "backup, which this ledger does not know, may be in grace. The guarantee fails there."
    )
    hit: int | None = Field(
        description="How many tokens matched and had not ended, as it was counted when this was "
        "signed: exact up to 10,000. Null: not counted in time."
    )
    summary: SummaryFacts
    next: str | None = Field(description="The cursor of the next page, null at the end.")
    key_id: str
    signature: str = Field(description="Ed25519, of the content, in hex.")
    content: str = Field(description="The bytes that were signed, in base64.")
    statement: str = Field(description="The root key's statement of who may sign, in base64.")


class MissingFacts(BaseModel):
    """One verifier that is waited for."""

    instance: str
    service: str
    silent_s: float | None = Field(description="Since its last heartbeat. Null: not known.")


class ProgressFacts(BaseModel):
    """How far a wait has come; in `lapse_in_s` seconds the rest has lapsed."""

    acknowledged: int
    released: int
    lapsed: int
    grace: int = Field(description="Verifiers in grace that have said nothing: not waited for.")
    of: int
    lapse_in_s: float
    waits_for: list[MissingFacts] = Field(description="The first 20 of those that are missing.")


class Awaited(BaseModel):
    """What may be waited for: how far it has come, and the receipt when it is enforced."""

    model_config = ALWAYS_THERE

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
    limit: int = MOST_VERIFIERS,
) -> _Facts:
    """Wait until it is enforced, and say so with the receipt; 202 when the time runs out first."""
    target = AwaitedEvent(committed.revocation_id, committed.epoch, committed.seq, committed.at_us)
    found = await authority.enforcer.receipt(
        target, timeout_s=timeout_s or LONGEST_WAIT_S, fresh=committed.fresh
    )
    if isinstance(found, bytes):
        return await with_receipt(facts, found, authority, limit=limit)
    response.status_code = status.HTTP_202_ACCEPTED
    return facts.model_copy(update={"progress": progress(found)})


async def with_receipt(
    facts: _Facts,
    envelope: bytes,
    authority: UseCases,
    *,
    cursor: int = 0,
    limit: int = MOST_VERIFIERS,
) -> _Facts:
    """Add a receipt that is there, with a page of its verifiers."""
    signed = signed_envelope.decode(envelope)
    receipt = receipts.decode(signed.content)
    page = await authority.enforcer.page(receipt, cursor=cursor, limit=limit)
    shown = _document(receipt, page, signed, statement=authority.keys.statement)
    return facts.model_copy(update={"state": "enforced", "receipt": shown})


def _document(
    receipt: Receipt, page: DetailsPage, signed: SignedEnvelope, *, statement: bytes
) -> ReceiptFacts:
    return ReceiptFacts.model_validate(
        json_documents.of_receipt(receipt, page)
        | {
            "next": None if page.cursor is None else str(page.cursor),
            "key_id": signed.key_id.hex(),
            "signature": signed.signature.hex(),
            "content": base64.b64encode(signed.content).decode(),
            "statement": base64.b64encode(statement).decode(),
        }
    )


def progress(found: EnforcementProgress) -> ProgressFacts:
    """Show how far a wait has come."""
    return ProgressFacts(
        acknowledged=found.acknowledged,
        released=found.released,
        lapsed=found.lapsed,
        grace=found.grace,
        of=found.of,
        lapse_in_s=round(found.lapse_in_s, 3),
        waits_for=[
            MissingFacts(
                instance=each.instance.hex(),
                service=each.service,
                silent_s=None if each.silent_s is None else round(each.silent_s, 1),
            )
            for each in found.missing
        ],
    )
