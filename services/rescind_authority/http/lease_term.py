"""`/v1/term`: the lease term, which bounds for how long a cut-off sidecar may answer checks."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from rescind.core.lease import MAX_TERM_MS
from rescind_authority.http.dependencies import AdminActor, InjectedUseCases
from rescind_authority.ports.leases import Term
from rescind_authority.usecases.leases.lease_term import MIN_TERM_MS

router = APIRouter(prefix="/v1/term", tags=["fleet"])


class TermRequest(BaseModel):
    """The requested lease term."""

    model_config = ConfigDict(extra="forbid", strict=True)

    term_ms: Annotated[int, Field(ge=MIN_TERM_MS, le=MAX_TERM_MS)]


class TermFacts(BaseModel):
    """The current lease terms. Any running authority carries out the steps to another term."""

    grant_term_ms: int = Field(description="The term of the leases that are granted now.")
    wait_term_ms: int = Field(description="The term that revocations wait for; never shorter.")
    target_term_ms: int = Field(description="The term that was set last.")
    settled: bool = Field(description="Whether both are the term that was set last.")


@router.get("", summary="Read the lease term")
async def get(_actor: AdminActor, use_cases: InjectedUseCases) -> TermFacts:
    """Return the lease term, and the progress of its last change."""
    return _facts_of(await use_cases.term.get())


@router.put("", summary="Change the lease term")
async def put(body: TermRequest, actor: AdminActor, use_cases: InjectedUseCases) -> TermFacts:
    """Request another lease term.

    Lengthening takes a moment; shortening takes one old term.
    """
    return _facts_of(await use_cases.term.request_term(body.term_ms, actor=actor.name))


def _facts_of(term: Term) -> TermFacts:
    return TermFacts(
        grant_term_ms=term.grant_ms,
        wait_term_ms=term.wait_ms,
        target_term_ms=term.target_ms,
        settled=term.grant_ms == term.wait_ms == term.target_ms,
    )
