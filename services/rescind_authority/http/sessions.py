"""`/v1/sessions`: the bearer's own sessions, and logging out of them."""

from datetime import datetime

from fastapi import APIRouter, Response, status
from pydantic import BaseModel, Field

from rescind_authority.http import problems, timestamps
from rescind_authority.http.dependencies import (
    IdempotencyKey,
    InjectedUseCases,
    SessionHolder,
    bind_key,
)
from rescind_authority.http.revocations import receipts
from rescind_authority.http.revocations.receipts import Awaited
from rescind_authority.http.revocations.requests import RESPONSE_OPTIONS, WaitOptions
from rescind_authority.usecases.read_model.inspector import SeenToken
from rescind_authority.usecases.sessions import LogOutCommand

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


class SessionFacts(BaseModel):
    """A session, with the fields that its owner may see."""

    token_id: str
    current: bool = Field(description="True for the session of this request.")
    user_agent: str | None
    address: str | None
    issued_at: datetime
    last_used_at: datetime | None = Field(
        description="Up to some seconds late. Null: not used yet."
    )
    expires_at: datetime


class SessionList(BaseModel):
    """The sessions that are valid now, newest first, at most 200."""

    subject: str
    sessions: list[SessionFacts]


class LogOutRequest(WaitOptions):
    """The sessions to end: by default, the session that authorises the call."""

    token_id: str | None = Field(
        default=None, description="The id of another session of the same subject."
    )
    everywhere: bool = Field(default=False, description="End all sessions of the subject.")


class LogOutFacts(Awaited):
    """The event that ends the sessions, and its position in the ledger."""

    id: str
    epoch: int
    seq: int
    selector: list[str]
    committed_at: datetime


@router.get(
    "",
    summary="List my sessions",
    responses=problems.openapi_responses({403: "The token's holder lacks the right `sessions`."}),
)
async def mine(holder: SessionHolder, use_cases: InjectedUseCases) -> SessionList:
    """List the sessions of the subject whose session authorises this call."""
    session = holder.record
    seen = await use_cases.sessions.list_active(session)
    return SessionList(
        subject=session.subject, sessions=[_facts_of(each, session.token_id) for each in seen]
    )


@router.post(
    "/logout",
    status_code=status.HTTP_201_CREATED,
    summary="Log out",
    responses={
        200: {"model": LogOutFacts, "description": "This event had ended it already."},
        202: {"model": LogOutFacts, "description": "Committed, and not enforced in time."},
        **problems.openapi_responses(
            {
                403: "The token's holder lacks the right `sessions`.",
                404: "There is no such session of the subject, or it ended by itself.",
                429: "Too many changes by this token; `Retry-After` states when to try again.",
            }
        ),
    },
)
async def log_out(
    body: LogOutRequest,
    holder: SessionHolder,
    key: IdempotencyKey,
    use_cases: InjectedUseCases,
    response: Response,
) -> LogOutFacts:
    """End this session, another session, or all sessions of the subject.

    With `wait`, the response is sent after enforcement: every service denies the sessions.
    """
    session = holder.record
    revocation = await use_cases.sessions.log_out(
        LogOutCommand(body.token_id, everywhere=body.everywhere, awaited=body.wait),
        bearer=session,
        idempotency=bind_key(
            "POST /v1/sessions/logout",
            body,
            owner=session.token_id,
            key=key,
            ignored=RESPONSE_OPTIONS,
        ),
    )
    committed = revocation.committed
    if not committed.fresh:
        response.status_code = status.HTTP_200_OK
    facts = LogOutFacts(
        id=committed.revocation_id,
        epoch=committed.epoch,
        seq=committed.seq,
        selector=list(revocation.event.revocation.selector.handles),
        committed_at=timestamps.from_us(committed.at_us),
    )
    if not body.wait:
        return facts
    return await receipts.enforced(facts, committed, use_cases, response, timeout_s=body.timeout)


def _facts_of(seen: SeenToken, current: str) -> SessionFacts:
    token = seen.token
    return SessionFacts(
        token_id=token.grant.token_id,
        current=token.grant.token_id == current,
        user_agent=token.grant.device.user_agent,
        address=token.grant.device.address,
        issued_at=timestamps.from_us(token.issued_at_us),
        last_used_at=timestamps.maybe_from_us(token.last_used_at_us),
        expires_at=timestamps.from_us(token.expires_at_us),
    )
