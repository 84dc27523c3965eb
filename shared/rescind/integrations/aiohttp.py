"""Middleware for the server of aiohttp, which requires a good token for each call.

    app = web.Application()
    setup(app, require={"search:read"})

A handler finds the token's record in `request[RECORD]`. One that needs more scopes is decorated:

    @requires("search:write")
    async def save(request): ...

Each call is held: it ends within milliseconds after its token is denied. The handler is cancelled,
and:

* A response that has not begun is replaced by the refusal that a new call would get.
* A response that has begun is broken off without a regular end.
* A websocket is closed with the reason, as 1008, or as 1013 (try again later) if the lease was
  lost.

`preflight=True` passes CORS preflights on without a token, for handlers of OPTIONS inside. Every
handler that takes OPTIONS then runs without one.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import suppress
from functools import wraps
from typing import cast

from rescind.core.record import Record
from rescind.core.verdict import NOT_JUDGED
from rescind.errors import DeniedError
from rescind.integrations.asgi_call import POLICY_VIOLATION, TRY_AGAIN_LATER
from rescind.integrations.attachment import Attachment, Checking
from rescind.integrations.extras import needing
from rescind.integrations.guard import Guard, Requirement, open_paths
from rescind.wire.bearer import Refusal

with needing("aiohttp", "aiohttp"):
    from aiohttp import web
    from aiohttp.payload import Payload

__all__ = ["RECORD", "requires", "setup"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_GUARD = web.AppKey("rescind", Guard)
_RESPONSE = web.RequestKey("rescind.response", web.StreamResponse)
_CLOSE_S = 1.0

RECORD = web.RequestKey("rescind.record", Record)
"""The key of the token's record in a request."""


def setup(
    app: web.Application,
    verifier: Checking | None = None,
    *,
    require: Collection[str] = (),
    audience: str | None = None,
    exempt: Collection[str] = ("/healthz",),
    preflight: bool = False,
    resource_metadata: str | None = None,
) -> None:
    """Require a good token for each call of an application, or of a part that is mounted.

    Call it before other middleware is added. Files and streams that a handler returns are sent
    inside this middleware, so middleware outside of it cannot change them any more.
    Without `verifier`, it attaches to the sidecar that the environment names, at the first call and
    again at each later call until that succeeds. `audience` None means the sidecar's service. Paths
    in `exempt` match exactly and need no token. `resource_metadata` is the URL of the resource's
    metadata (RFC 9728), for the challenges. Raises ValueError for an invalid URL or `exempt`, and
    ScopeError for an invalid scope.
    """
    attachment = Attachment(verifier)
    requirement = Requirement.parse(require, audience=audience, resource_metadata=resource_metadata)
    guard = app[_GUARD] = Guard(attachment, requirement)
    exempt_paths = open_paths(exempt)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in exempt_paths or (preflight and _is_preflight(request)):
            return await handler(request)
        return await _serve(guard, request, lambda request: _send(request, handler))

    async def close_at_cleanup(_: web.Application) -> AsyncIterator[None]:
        yield
        attachment.close()

    app.middlewares.append(middleware)
    app.on_response_prepare.append(_note_response)
    app.cleanup_ctx.append(close_at_cleanup)


def requires(*scopes: str, audience: str | None = None) -> Callable[[Handler], Handler]:
    """Return a decorator that admits calls with a good bearer token for these scopes.

    `audience` None means that of `setup`. Raises ScopeError for an invalid scope.
    """
    required = Requirement.parse(scopes).scopes

    def decorate(handler: Handler) -> Handler:
        @wraps(handler)
        async def guarded(request: web.Request) -> web.StreamResponse:
            base = request.config_dict[_GUARD]
            requirement = Requirement.parse(
                required,
                audience=audience or base.requirement.audience,
                resource_metadata=base.requirement.resource_metadata,
            )
            return await _serve(Guard(base.attachment, requirement), request, handler)

        return guarded

    return decorate


async def _serve(guard: Guard, request: web.Request, handler: Handler) -> web.StreamResponse:
    holding = await guard.ahold(request.raw_headers, request.remote or None)
    if isinstance(holding, Refusal):
        return _build_response(holding)
    try:
        async with holding as record:
            request[RECORD] = record
            return await handler(request)
    except (DeniedError, ExceptionGroup):
        if holding.reason is None:
            raise  # the handler's own
        return await _cut(request, guard.refuse(holding.reason))


async def _send(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Call a handler; send a file or stream that it returns while the token is held."""
    response = await handler(request)
    streamed = isinstance(response, web.FileResponse) or (
        isinstance(response, web.Response) and isinstance(response.body, Payload)
    )
    if streamed and not response.prepared:
        await response.prepare(request)
        await response.write_eof()
    return response


async def _cut(request: web.Request, refusal: Refusal) -> web.StreamResponse:
    """End a call in its present state."""
    response: web.StreamResponse | None = request.get(_RESPONSE)
    if response is None:
        return _build_response(refusal)
    if isinstance(response, web.WebSocketResponse):
        websocket = cast("web.WebSocketResponse[bool]", response)
        stale = refusal.reason in NOT_JUDGED
        code = TRY_AGAIN_LATER if stale else POLICY_VIOLATION
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await websocket.close(code=code, message=refusal.reason.encode())
        return websocket
    if request.transport is not None:
        # Without a regular end, so that no client mistakes the part for the whole.
        request.transport.abort()
    return response


async def _note_response(request: web.Request, response: web.StreamResponse) -> None:
    request[_RESPONSE] = response


def _is_preflight(request: web.Request) -> bool:
    """Return True for a CORS preflight, which a browser sends without a token (Fetch, 3.3)."""
    names = request.headers
    return (
        request.method == "OPTIONS"
        and "Authorization" not in names
        and "Origin" in names
        and "Access-Control-Request-Method" in names
    )


def _build_response(refusal: Refusal) -> web.Response:
    return web.Response(body=refusal.body, status=refusal.status, headers=dict(refusal.headers))
