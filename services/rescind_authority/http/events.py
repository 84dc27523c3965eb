"""`/v1/events`: the ledger as it grows, as server-sent events (WHATWG HTML, section 9.2).

A stream ends when its token is no longer accepted. The token is looked up again before an event
that hits it is sent, when such an event is committed, when it ends by itself, and every 15 seconds.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Send
from starlette.types import Scope as HttpScope

from rescind.core.revocation import Event
from rescind.errors import RescindError
from rescind.wire import bearer, json_documents
from rescind_authority.errors import (
    FieldError,
    ForbiddenError,
    InvalidRequestError,
    UnauthenticatedError,
)
from rescind_authority.http.dependencies import InjectedUseCases, Reader, UseCases, address_of
from rescind_authority.usecases.access.authoriser import Admission, Scope

router = APIRouter(prefix="/v1/events", tags=["events"])

_KEEP_ALIVE_S = 15
_SEND_S = 30
_LAST_SEND_S = 1.0
_RECHECK_S = 15.0
_RETRY_S = 1.0
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
    request: Request,
    use_cases: InjectedUseCases,
    since: Annotated[
        int | None,
        Query(ge=0, le=_MAX_SEQ, description="Begin after this seq. Left out: from now on."),
    ] = None,
    last_event_id: Annotated[
        str | None, Header(description="The same as `since`, and takes precedence.")
    ] = None,
) -> EventSourceResponse:
    """Stream every event after a seq, then each new one as it is committed.

    The stream ends when its token is revoked or suspended, expires, or loses its scope.
    """
    start = since if last_event_id is None else _seq(last_event_id)
    admission = _StreamAdmission(use_cases, request)
    await admission.begin()
    return _Stream(
        _encode(use_cases.inspector.follow(start), admission),
        stop_when=admission.wait_until_refused,
    )


class _StreamAdmission:
    """The admission of a request's bearer, which is renewed while a stream lasts."""

    def __init__(self, use_cases: UseCases, request: Request) -> None:
        self._use_cases = use_cases
        self._bearer = bearer.find(request.scope["headers"])
        self._address = address_of(request)
        self._admission: Admission

    async def begin(self) -> None:
        """Look up the token of the request. Raises the error of a refusal."""
        admission = await self._use_cases.authoriser.admit(self._bearer, address=self._address)
        admission.actor.require(Scope.READ, "this call")
        self._admission = admission

    def is_hit(self, event: Event) -> bool:
        """Return True if an event may end or change the token."""
        return event.revocation.selector.matches(self._admission.record.handles)

    async def is_still_admitted(self) -> bool:
        """Look up the token again, and return True if it is still admitted.

        Also returns False if the look-up fails.
        """
        try:
            await self.begin()
        except RescindError:
            return False
        return True

    async def wait_until_refused(self) -> None:
        """Wait until the token is no longer accepted, or no look-up has succeeded for 30 s."""
        confirmed_s = asyncio.get_running_loop().time()
        while True:
            try:
                await self._wait_until_due()
                await self.begin()
                confirmed_s = asyncio.get_running_loop().time()
            except (UnauthenticatedError, ForbiddenError):
                return
            except RescindError:
                if asyncio.get_running_loop().time() - confirmed_s > 2 * _RECHECK_S:
                    return
                await asyncio.sleep(_RETRY_S)

    async def _wait_until_due(self) -> None:
        record, at_us = self._admission.record, self._admission.at_us
        left_s = (record.expires_at_us - at_us) / 1_000_000
        try:
            async with asyncio.timeout(min(left_s, _RECHECK_S)):
                async for event in self._use_cases.inspector.follow(record.as_of):
                    if self.is_hit(event):
                        return
        except TimeoutError:
            return


class _Stream(EventSourceResponse):
    """Server-sent events that end when `stop_when` returns, as well as when they are all sent."""

    def __init__(
        self,
        content: AsyncIterator[ServerSentEvent],
        *,
        stop_when: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType] a bare `dict` in its types
            content, ping=_KEEP_ALIVE_S, send_timeout=_SEND_S
        )
        self._stop_when = stop_when

    async def __call__(self, scope: HttpScope, receive: Receive, send: Send) -> None:
        async with asyncio.TaskGroup() as tasks:
            stream = tasks.create_task(super().__call__(scope, receive, send))
            watch = tasks.create_task(self._stop_when())
            await asyncio.wait({stream, watch}, return_when=asyncio.FIRST_COMPLETED)
            watch.cancel()
            cut = stream.cancel()
        if cut:
            # The end of the body; a client that does not read is cut off without it.
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_SEND_S):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _seq(text: str) -> int:
    # Check the length first: int() raises for more than 4,300 digits.
    short = len(text) <= len(str(_MAX_SEQ))
    if not (short and text.isascii() and text.isdigit()) or int(text) > _MAX_SEQ:
        raise InvalidRequestError(FieldError("Last-Event-ID", "expected a seq, such as 42"))
    return int(text)


async def _encode(
    events: AsyncIterator[Event], admission: _StreamAdmission
) -> AsyncIterator[ServerSentEvent]:
    async for event in events:
        if admission.is_hit(event) and not await admission.is_still_admitted():
            return
        yield ServerSentEvent(
            json.dumps(json_documents.of_event(event)), event="revocation", id=str(event.seq)
        )
