"""Receipts as JSON: readable fields, and the bytes that were signed."""

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
from rescind_authority.ports.ledger import CommittedEvent
from rescind_authority.usecases.enforcement.wait import EnforcementProgress

MAX_WAIT_S = 600
ALWAYS_THERE = ConfigDict(json_schema_serialization_defaults_required=True)
"""Responses contain every field, also one with a default; the schema lists all as required."""

MAX_VERIFIERS = 1_000
"""The maximum of verifiers in one response: all of a receipt that names them itself."""


class VerifierFacts(BaseModel):
    """One verifier, and the time from the commit until it no longer accepted revoked tokens."""

    instance: str
    service: str
    outcome: Literal["acknowledged", "released", "lapsed"]
    latency_ms: float = Field(
        description="Upper bound. Without a wait, the authority reads it from a heartbeat, within "
        "a second."
    )


class LenientFacts(BaseModel):
    """One verifier in grace that had not acknowledged the event."""

    instance: str
    service: str
    until: datetime = Field(description="The time from which it accepts no revoked token.")


class TallyFacts(BaseModel):
    """The outcomes of the verifiers of one service."""

    service: str
    acknowledged: int
    released: int
    lapsed: int
    grace: int
    slowest_ms: float


class SummaryFacts(BaseModel):
    """The number of verifiers by outcome. A large receipt signs this summary."""

    verifiers: int = Field(description="The sum of `acknowledged`, `released` and `lapsed`.")
    acknowledged: int
    released: int
    lapsed: int
    grace: int = Field(description="Verifiers where the guarantee does not hold yet.")
    grace_until: datetime | None = Field(description="The end of the last grace.")
    services: list[TallyFacts] = Field(
        description="The services with the most verifiers, at most 200."
    )
    services_left: int = Field(description="The number of services that are not listed.")
    notable: list[VerifierFacts] = Field(
        description="The lapsed verifiers, at most 500, and the 50 slowest others."
    )


class EventFacts(BaseModel):
    """A committed event as the ledger stores it; part of the signed content of a receipt."""

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
    """The statement that a revocation is enforced.

    No check that starts from now on is accepted by an enforcing verifier.
    """

    revocation_id: str
    epoch: int
    seq: int
    events: list[EventFacts] = Field(description="The enforced events; a kill has two.")
    committed_at: datetime
    enforced_at: datetime = Field(
        description="The time of enforcement. For a receipt that was requested later: when the "
        "last verifier had acknowledged or lapsed or, if this authority did not observe all of "
        "it, the time of the request."
    )
    verifiers: list[VerifierFacts] = Field(
        description="A page of at most 1,000 verifiers; `summary.verifiers` is their number."
    )
    grace: list[LenientFacts] = Field(
        description="Verifiers in grace, which have no guarantee: the first 500, then more."
    )
    unknown_grace_until: datetime | None = Field(
        description="Set for some time after a new epoch. Until then, verifiers that began after "
        "the backup, and that this ledger lacks, may be in grace, without the guarantee."
    )
    hit: int | None = Field(
        description="The number of live tokens that matched, as counted when this was signed: "
        "exact up to 10,000. Null: not counted in time."
    )
    summary: SummaryFacts
    next: str | None = Field(description="The cursor of the next page, null at the end.")
    key_id: str
    signature: str = Field(description="The Ed25519 signature of the content, in hex.")
    content: str = Field(description="The signed bytes, in base64.")
    statement: str = Field(
        description="The root key's trust statement, which names the signing keys, in base64."
    )


class MissingFacts(BaseModel):
    """One verifier for which the authority still waits."""

    instance: str
    service: str
    silent_s: float | None = Field(description="Seconds since its last heartbeat. Null: not known.")


class ProgressFacts(BaseModel):
    """The progress of a wait. After `lapse_in_s` seconds, the remaining verifiers have lapsed."""

    acknowledged: int
    released: int
    lapsed: int
    grace: int = Field(
        description="Verifiers in grace that have not acknowledged; they are not waited for."
    )
    of: int
    lapse_in_s: float
    waits_for: list[MissingFacts] = Field(description="The first 20 missing verifiers.")


class Awaited(BaseModel):
    """A commit whose enforcement a client can await: its progress, or its receipt."""

    model_config = ALWAYS_THERE

    state: Literal["committed", "enforced"] = "committed"
    receipt: ReceiptFacts | None = None
    progress: ProgressFacts | None = None


_Facts = TypeVar("_Facts", bound=Awaited)


async def enforced(
    facts: _Facts,
    committed: CommittedEvent,
    use_cases: UseCases,
    response: Response,
    *,
    timeout_s: float | None,
    limit: int = MAX_VERIFIERS,
) -> _Facts:
    """Wait for enforcement and add the receipt; set 202 if the time runs out first."""
    found = await use_cases.enforcer.receipt(committed, timeout_s=timeout_s or MAX_WAIT_S)
    if isinstance(found, bytes):
        return await with_receipt(facts, found, use_cases, limit=limit)
    response.status_code = status.HTTP_202_ACCEPTED
    return facts.model_copy(update={"progress": progress(found)})


async def with_receipt(
    facts: _Facts,
    envelope: bytes,
    use_cases: UseCases,
    *,
    cursor: int = 0,
    limit: int = MAX_VERIFIERS,
) -> _Facts:
    """Add an existing receipt, with a page of its verifiers."""
    signed = signed_envelope.decode(envelope)
    receipt = receipts.decode(signed.content)
    page = await use_cases.enforcer.receipts.page(receipt, cursor=cursor, limit=limit)
    shown = _receipt_facts(receipt, page, signed, statement=use_cases.keys.statement)
    return facts.model_copy(update={"state": "enforced", "receipt": shown})


def _receipt_facts(
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
    """Return the progress of a wait as a response model."""
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
