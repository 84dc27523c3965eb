"""`/v1/revocations`: revoke, list, look."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response, status
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from rescind.core.revocation import Effect, Event
from rescind_authority.errors import FieldProblem, InvalidRequestError, NotInThisVersionError
from rescind_authority.http import receipts, times
from rescind_authority.http.context import (
    Authority,
    IdempotencyKey,
    Reader,
    RevokerActor,
    UseCases,
    claim,
)
from rescind_authority.http.receipts import ProgressFacts, ReceiptFacts
from rescind_authority.ports import StoredRevocation
from rescind_authority.usecases.revoke import Done, Wish
from rescind_authority.usecases.wait import Target

router = APIRouter(prefix="/v1/revocations", tags=["revocations"])

LONGEST_WAIT_S = 600

_LATER = {
    "dry_run": "Leave it out, and look with GET /v1/tokens first.",
    "until": "Leave it out: a revocation is final.",
    "scopes": "Revoke the token, and issue one with fewer scopes.",
}


class RevokeRequest(BaseModel):
    """Which tokens are to be revoked: those a selector matches, or one that somebody holds."""

    model_config = ConfigDict(extra="forbid")

    selector: list[str] = Field(
        default=[],
        description="One to eight handles, all of which must match. `token:` takes what was "
        "delegated from it along, and `subject:` its chain, unless `exact`.",
        examples=[["subject:agent:billing-bot"]],
    )
    token: str | None = Field(
        default=None, description="A token's secret, in place of a selector.", max_length=1024
    )
    exact: bool = False
    effect: str = Field(default=Effect.REVOKE, description="Only `revoke` in this version.")
    issued_before: AwareDatetime | None = Field(
        default=None, description="Spare what was issued at or after: RFC 3339, or Unix seconds."
    )
    reason: str = ""
    wait: bool = Field(
        default=False,
        description="Answer when it is enforced: when no verifier accepts any more what it hits.",
    )
    timeout: Annotated[float, Field(gt=0, le=LONGEST_WAIT_S)] | None = Field(
        default=None,
        description="With `wait`: answer 202 after so many seconds if it is not enforced yet. By "
        "default as long as it may take: one lease term and a little.",
    )
    dry_run: Any = Field(default=False, description="Not in this version.")
    until: Any = Field(default=None, description="Not in this version.")
    scopes: Any = Field(default=None, description="Not in this version.")


class RevocationFacts(BaseModel):
    """A revocation at its place in the ledger."""

    id: str
    epoch: int
    seq: int
    effect: str
    state: Literal["committed", "enforced"]
    selector: list[str]
    exact: bool
    issued_before: datetime | None
    reason: str
    actor: str
    committed_at: datetime
    receipt: ReceiptFacts | None = None
    progress: ProgressFacts | None = None


class RevocationPage(BaseModel):
    """Revocations, newest first; `next` is the cursor of the next page, null at the end."""

    revocations: list[RevocationFacts]
    next: str | None


@router.post("", status_code=status.HTTP_201_CREATED, summary="Revoke")
async def revoke(
    asked: RevokeRequest,
    actor: RevokerActor,
    key: IdempotencyKey,
    authority: Authority,
    response: Response,
) -> RevocationFacts:
    """Revoke every token that matches, in one event; it is final.

    The answer comes once the ledger has it; sidecars hear of it in milliseconds. With `wait` it
    comes once it is enforced, with the receipt; 202 says that it is committed, and not yet that.
    """
    _refuse_what_comes_later(asked)
    cutoff = asked.issued_before
    wish = Wish(
        selector=asked.selector,
        token=asked.token,
        exact=asked.exact,
        issued_before_us=None if cutoff is None else _cutoff_us(cutoff),
        reason=asked.reason,
        awaited=asked.wait,
    )
    how = frozenset({"wait", "timeout"})
    done = await authority.revoker.revoke(
        wish,
        actor=actor,
        claim=claim("POST /v1/revocations", asked, actor=actor, key=key, besides=how),
    )
    facts = _done(done, exact=asked.exact)
    if not asked.wait:
        return facts
    committed = done.committed
    target = Target(committed.revocation_id, committed.epoch, committed.seq, committed.at_us)
    return await _enforced(facts, target, authority, response, timeout_s=asked.timeout)


@router.get("", summary="List revocations")
async def page(
    _actor: Reader,
    authority: Authority,
    cursor: Annotated[
        int | None, Query(description="`next` of the page before.", ge=1, lt=1 << 63)
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> RevocationPage:
    """List revocations, newest first."""
    # One more than asked for tells whether there is a next page.
    found = await authority.looker.revocations(before_seq=cursor, limit=limit + 1)
    shown = found[:limit]
    return RevocationPage(
        revocations=[_facts(each) for each in shown],
        next=str(shown[-1].event.seq) if len(found) > limit else None,
    )


@router.get("/{revocation_id}", summary="Look at a revocation")
async def look(revocation_id: str, _actor: Reader, authority: Authority) -> RevocationFacts:
    """Look at one revocation, with its receipt if somebody waited for it."""
    facts = _facts(await authority.looker.revocation(revocation_id))
    envelope = await authority.enforcer.kept(facts.id)
    return facts if envelope is None else _with_receipt(facts, envelope, authority)


@router.get("/{revocation_id}/receipt", summary="Wait for a receipt")
async def receipt(
    revocation_id: str,
    _actor: Reader,
    authority: Authority,
    response: Response,
    timeout_s: Annotated[float | None, Query(alias="timeout", gt=0, le=LONGEST_WAIT_S)] = None,
) -> RevocationFacts:
    """Wait until a revocation is enforced, and give its receipt; 202 if the time runs out.

    Any authority can be asked, also after the one that was told to revoke has died.
    """
    stored = await authority.looker.revocation(revocation_id)
    event = stored.event
    target = Target(revocation_id, event.epoch, event.seq, event.at_us)
    return await _enforced(_facts(stored), target, authority, response, timeout_s=timeout_s)


async def _enforced(
    facts: RevocationFacts,
    target: Target,
    authority: UseCases,
    response: Response,
    *,
    timeout_s: float | None,
) -> RevocationFacts:
    found = await authority.enforcer.receipt(target, timeout_s=timeout_s or LONGEST_WAIT_S)
    if isinstance(found, bytes):
        return _with_receipt(facts, found, authority)
    response.status_code = status.HTTP_202_ACCEPTED
    return facts.model_copy(update={"progress": receipts.progress(found)})


def _with_receipt(facts: RevocationFacts, envelope: bytes, authority: UseCases) -> RevocationFacts:
    shown = receipts.document(envelope, statement=authority.keys.statement)
    return facts.model_copy(update={"state": "enforced", "receipt": shown})


def _refuse_what_comes_later(asked: RevokeRequest) -> None:
    for field, advice in _LATER.items():
        if getattr(asked, field) not in (None, False):
            raise NotInThisVersionError(field, advice)
    if asked.effect == Effect.REVOKE:
        return
    if asked.effect in tuple(Effect) or asked.effect == "kill":
        raise NotInThisVersionError("effect", "Only `revoke` is possible so far.")
    raise InvalidRequestError(FieldProblem("effect", "expected `revoke`"))


def _cutoff_us(moment: datetime) -> int:
    unix_us = times.to_us(moment)
    if unix_us < 0:
        raise InvalidRequestError(FieldProblem("issued_before", "expected a time after 1970"))
    return unix_us


def _done(done: Done, *, exact: bool) -> RevocationFacts:
    committed = done.committed
    event = Event(
        epoch=committed.epoch,
        seq=committed.seq,
        at_us=committed.at_us,
        revocation=replace(done.revocation, revocation_id=committed.revocation_id),
    )
    return _facts(StoredRevocation(event, exact, lifted_at_us=None))


def _facts(stored: StoredRevocation) -> RevocationFacts:
    event, revocation = stored.event, stored.event.revocation
    return RevocationFacts(
        id=revocation.revocation_id,
        epoch=event.epoch,
        seq=event.seq,
        effect=revocation.effect,
        state="committed",
        selector=list(revocation.selector.handles),
        exact=stored.exact,
        issued_before=times.maybe_from_us(revocation.issued_before_us),
        reason=revocation.reason,
        actor=revocation.actor,
        committed_at=times.from_us(event.at_us),
    )
