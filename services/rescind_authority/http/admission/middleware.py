"""Middleware for every request: the count, the size limit, and the wait for a turn."""

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rescind.core import token_format
from rescind.core.token_format import Kind
from rescind.wire import bearer, nats_subjects
from rescind_authority.errors import InvalidRequestError, OverloadedError
from rescind_authority.http import oauth_errors, problems
from rescind_authority.http.admission import json_texts
from rescind_authority.http.admission.gate import Bodies, BodyTooLargeError, Gate
from rescind_authority.http.admission.json_texts import UnreadableBodyError
from rescind_authority.http.dependencies import mark_authenticated, owner_of
from rescind_authority.ports.metrics import Metrics
from rescind_runtime.oauth import forms
from rescind_runtime.oauth.forms import InvalidFormError

MAX_BODY_BYTES = 1024 * 1024  # a thousand commands
UNPROVEN_BODY_BYTES = 64 * 1024
"""The size limit of a request without a token of this installation.

A delegation, or a report of a sidecar, has half of this size.
"""

_UNPROVEN_BYTES = 32 * 1024 * 1024
_PROVEN_BYTES = 64 * 1024 * 1024
_UNPROVEN_AT_ONCE = 8
_HEALTH_AT_ONCE = 4
_HEALTH = ("/healthz", "/readyz")
_LINK = "/link/"
_OFFER = nats_subjects.path(nats_subjects.OFFER)  # proven by a MAC over all of it
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER = "other"
_NOT_FOUND = "none"


class RequestCounter:
    """Count requests by method, route and status.

    Names that callers make up are not used as labels.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def count_response(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", _NOT_FOUND)
                method = scope["method"] if scope["method"] in _METHODS else _OTHER
                self._metrics.request(method=method, route=route, status=message["status"])
            await send(message)

        await self._app(scope, receive, count_response)


class AdmissionMiddleware:
    """Read each body before it is parsed, and admit requests.

    A request with a token of this installation, or on an authenticated connection, may have a body
    of a mebibyte, and does not wait. Only a few of all other requests are processed at a time, so
    that no revocation waits for all of them.
    """

    def __init__(self, app: ASGIApp, *, find_own_kind: Callable[[str | None], Kind | None]) -> None:
        """Store the arguments; `find_own_kind` returns the kind of a token of this installation."""
        self._app = app
        self._find_own_kind = find_own_kind
        self._proven, self._unproven = Bodies(_PROVEN_BYTES), Bodies(_UNPROVEN_BYTES)
        self._gate = Gate(_UNPROVEN_AT_ONCE)
        self._health = {path: Gate(_HEALTH_AT_ONCE) for path in _HEALTH}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        token = _find_token(scope)
        kind = self._find_own_kind(token)
        known = kind is not None or owner_of(scope) is not None
        if token is not None and kind is Kind.ADMIN:
            # Before the body is read: it may be large, and its sender slow. A refusal undoes this.
            mark_authenticated(scope, token_format.digest(token).hex())
        large = known or scope["path"] == _OFFER
        limit = MAX_BODY_BYTES if large else UNPROVEN_BODY_BYTES
        if _content_length(scope) > limit:
            await problems.too_large(limit, path=scope["path"])(scope, receive, send)
            return
        try:
            with (self._proven if known else self._unproven).body() as body:
                if not await body.read(receive, limit_bytes=limit):
                    return  # the client disconnected
                content = bytes(body.content)
                if known:
                    await self._answer(content, scope, receive, send)
                else:
                    await self._answer_in_turn(content, scope, receive, send)
        except BodyTooLargeError as error:
            await problems.too_large(error.limit_bytes, path=scope["path"])(scope, receive, send)
        except OverloadedError as error:
            await problems.response_at(scope["path"], error)(scope, receive, send)

    async def _answer_in_turn(
        self, body: bytes, scope: Scope, receive: Receive, send: Send
    ) -> None:
        gate = self._health.get(scope["path"], self._gate)
        client = scope["client"]
        async with gate.turn(client[0] if client else "") as turn:

            async def end_turn(message: Message) -> None:
                turn.end()  # the work is done: a slow reader keeps no turn
                await send(message)

            await self._answer(body, scope, receive, end_turn)

    async def _answer(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if not scope["path"].startswith(_LINK):  # whose messages are bytes
                json_texts.check(body)
        except UnreadableBodyError as error:
            await problems.unreadable(str(error), path=scope["path"])(scope, receive, send)
        except InvalidRequestError as error:
            await problems.response_at(scope["path"], error)(scope, receive, send)
        else:
            await self._app(scope, _replay(body, receive), send)


def _find_token(scope: Scope) -> str | None:
    """Return the token that a request's headers contain: also the secret of an OAuth client."""
    token = bearer.find(scope["headers"])
    if token is not None or not scope["path"].startswith(oauth_errors.PATHS):
        return token
    try:
        found = forms.find_basic(scope["headers"])
    except InvalidFormError:
        return None
    return None if found is None else found.secret


def _content_length(scope: Scope) -> int:
    """Return the Content-Length of a request, or 0 if there is none."""
    # The server checked that it is one number, and short enough for int().
    return next((int(text) for name, text in scope["headers"] if name == b"content-length"), 0)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that returns the body as one message, and then later messages."""
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
