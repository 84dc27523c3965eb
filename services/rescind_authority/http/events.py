"""`/v1/events`: the ledger as it grows, as server-sent events (WHATWG HTML, section 9.2)."""

import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query
from sse_starlette import EventSourceResponse, ServerSentEvent

from rescind.core.revocation import Event
from rescind_authority.errors import FieldProblem, InvalidRequestError
from rescind_authority.http import times
from rescind_authority.http.context import Authority, Reader

router = APIRouter(prefix="/v1/events", tags=["events"])

_KEEP_ALIVE_S = 15
_SEND_S = 30
_MAX_SEQ = (1 << 63) - 1


@router.get(
    "",
    summary="Follow the ledger",
    response_class=EventSourceResponse,
    responses={
        200: {
            "content": {"text/event-stream": {}},
            "description": "One `revocation` event for each event of the ledger, its id the seq.",
        }
    },
)
async def follow(
    _actor: Reader,
    authority: Authority,
    since: Annotated[
        int | None, Query(ge=0, le=_MAX_SEQ, description="Begin after this seq; else from now on.")
    ] = None,
    last_event_id: Annotated[str | None, Header(description="The same, and it wins.")] = None,
) -> EventSourceResponse:
    """Stream every event after a seq, then each new one as it is committed."""
    start = since if last_event_id is None else _seq(last_event_id)
    return EventSourceResponse(
        _written(authority.looker.follow(start)), ping=_KEEP_ALIVE_S, send_timeout=_SEND_S
    )


def _seq(text: str) -> int:
    # Its length first: Python reads no number of more than 4,300 digits.
    short = len(text) <= len(str(_MAX_SEQ))
    if not (short and text.isascii() and text.isdigit()) or int(text) > _MAX_SEQ:
        raise InvalidRequestError(FieldProblem("Last-Event-ID", "expected a seq, such as 42"))
    return int(text)


async def _written(events: AsyncIterator[Event]) -> AsyncIterator[ServerSentEvent]:
    async for event in events:
        yield ServerSentEvent(_document(event), event="revocation", id=str(event.seq))


def _document(event: Event) -> str:
    revocation = event.revocation
    return json.dumps(
        {
            "epoch": event.epoch,
            "seq": event.seq,
            "at": _moment(event.at_us),
            "id": revocation.revocation_id,
            "effect": revocation.effect,
            "selector": revocation.selector.handles,
            "scopes": revocation.scopes,
            "issued_before": _moment(revocation.issued_before_us),
            "until": _moment(revocation.until_us),
            "lifts": revocation.lifts,
            "reason": revocation.reason,
            "actor": revocation.actor,
        }
    )


def _moment(unix_us: int | None) -> str | None:
    return None if unix_us is None else times.from_us(unix_us).isoformat().replace("+00:00", "Z")
