"""`/v1/term`: how long a lease lasts, and so how long a cut-off sidecar may go on."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from rescind.core.lease import MAX_TERM_MS
from rescind_authority.http.dependencies import AdminActor, Authority
from rescind_authority.ports.leases import Term
from rescind_authority.usecases.leases.lease_term import MIN_TERM_MS

router = APIRouter(prefix="/v1/term", tags=["fleet"])


class TermWish(BaseModel):
    """The term that is wanted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    term_ms: Annotated[int, Field(ge=MIN_TERM_MS, le=MAX_TERM_MS)]


class TermFacts(BaseModel):
    """The terms as they are. The steps to another one are taken by whichever authority lives."""

    grant_term_ms: int = Field(description="What leases are granted for now.")
    wait_term_ms: int = Field(description="What a revocation takes them to last: never less.")
    target_term_ms: int = Field(description="What was asked for last.")
    settled: bool = Field(description="Whether both are what was asked for.")


@router.get("", summary="Read the lease term")
async def get(_actor: AdminActor, authority: Authority) -> TermFacts:
    """Read the lease term, and how far a change of it has come."""
    return _facts(await authority.term.get())


@router.put("", summary="Change the lease term")
async def put(wish: TermWish, actor: AdminActor, authority: Authority) -> TermFacts:
    """Request another lease term. Lengthening takes a moment, shortening one old term."""
    return _facts(await authority.term.ask(wish.term_ms, actor=actor.name))


def _facts(term: Term) -> TermFacts:
    return TermFacts(
        grant_term_ms=term.grant_ms,
        wait_term_ms=term.wait_ms,
        target_term_ms=term.target_ms,
        settled=term.grant_ms == term.wait_ms == term.target_ms,
    )
