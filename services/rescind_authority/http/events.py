"""`/v1/events`: the ledger as it grows, as server-sent events (WHATWG HTML, section 9.2)."""

import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query
from sse_starlette import EventSourceResponse, ServerSentEvent

from rescind.core.revocation import Event
from rescind.wire import documents
from rescind_authority.errors import FieldProblem, InvalidRequestError
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
        yield ServerSentEvent(
            json.dumps(documents.of_event(event)), event="revocation", id=str(event.seq)
        )
