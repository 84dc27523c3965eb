"""Middleware and a decorator for Django, which require a good token for each call.

    MIDDLEWARE = ["rescind.integrations.django.middleware", …]    # all views
    RESCIND = {"REQUIRE": ["search:read"]}

    @requires("search:read")                                       # or one view
    def search(request): ...

Both work in synchronous and in asynchronous applications. The view finds the token's record in
`request.rescind`. An asynchronous view is cancelled when the token is denied. A synchronous one
cannot be interrupted: long work should look at `request.rescind_hold.revoked` between two steps. It
is there under WSGI, and under `@requires`. A streaming response is broken off.

The keys of the setting `RESCIND`, all optional:

* `REQUIRE`: the scopes that each call needs.
* `AUDIENCE`: the audience that tokens must have; default: the sidecar's service.
* `EXEMPT`: paths that need no token, compared exactly; default: `["/healthz"]`.
* `PREFLIGHT`: True passes CORS preflights on without a token. Every view that takes OPTIONS then
  runs without one. CORS middleware in front of this one needs no such setting.
* `RESOURCE_METADATA`: the URL of the resource's metadata (RFC 9728), for the challenges.
* `VERIFIER`: a verifier, such as a `rescind.testing.FakeVerifier`. Default: one that is attached to
  the sidecar that the environment names, at the first call and again until that succeeds.

`@requires` reads the keys `AUDIENCE`, `RESOURCE_METADATA` and `VERIFIER`.
"""

import asyncio
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Mapping,
)
from functools import lru_cache, wraps
from inspect import iscoroutine
from typing import Any, Self, TypeVar, cast

from rescind.errors import DeniedError
from rescind.integrations import cgi_variables
from rescind.integrations.attachment import Attachment
from rescind.integrations.extras import needing
from rescind.integrations.guard import Guard, Requirement, open_paths
from rescind.integrations.thread_call import ThreadCall
from rescind.wire.bearer import Refusal

with needing("django", "django"):
    from asgiref.sync import iscoroutinefunction
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
    from django.http.response import HttpResponseBase
    from django.utils.decorators import sync_and_async_middleware

__all__ = ["build_guard", "middleware", "requires"]

_KEYS = frozenset({"AUDIENCE", "EXEMPT", "PREFLIGHT", "REQUIRE", "RESOURCE_METADATA", "VERIFIER"})

AsyncRespond = Callable[[], Awaitable[HttpResponseBase]]
_View = TypeVar("_View", bound=Callable[..., Any])


@sync_and_async_middleware
def middleware(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Require a good token for each call, as the setting `RESCIND` says."""
    configured = _read_settings()
    guard = build_guard(configured.get("REQUIRE", ()))
    exempt = open_paths(configured.get("EXEMPT", ("/healthz",)))
    preflight = bool(configured.get("PREFLIGHT", False))

    def is_open(request: HttpRequest) -> bool:
        return request.path_info in exempt or (
            preflight and cgi_variables.is_preflight(request.META)
        )

    if _is_async(get_response):

        async def serve_async(request: HttpRequest) -> HttpResponseBase:
            if is_open(request):
                return cast("HttpResponseBase", await get_response(request))
            return await _serve_async(guard, request, lambda: get_response(request))

        return serve_async

    def serve(request: HttpRequest) -> Any:
        if is_open(request):
            return get_response(request)
        return _serve(guard, request, lambda: get_response(request))

    return serve


def requires(*scopes: str, audience: str | None = None) -> Callable[[_View], _View]:
    """Return a decorator that admits calls with a good bearer token for these scopes.

    `audience` None means that of the settings. Raises ScopeError for an invalid scope.
    """
    required = Requirement.parse(scopes).scopes

    def decorate(view: _View) -> _View:
        if _is_async(view):

            @wraps(view)
            async def guarded_async(
                request: HttpRequest, *args: Any, **kwargs: Any
            ) -> HttpResponseBase:
                guard = build_guard(required, audience=audience)
                return await _serve_async(guard, request, lambda: view(request, *args, **kwargs))

            return cast("_View", guarded_async)

        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            guard = build_guard(required, audience=audience)
            return _serve(guard, request, lambda: view(request, *args, **kwargs))

        return cast("_View", guarded)

    return decorate


def build_guard(scopes: Iterable[str], *, audience: str | None = None) -> Guard:
    """Return a guard for these scopes with the verifier of the settings.

    Raises ImproperlyConfigured for an unknown key of the setting `RESCIND`.
    """
    configured = _read_settings()
    requirement = Requirement.parse(
        scopes if isinstance(scopes, str) else tuple(scopes),
        audience=audience or configured.get("AUDIENCE"),
        resource_metadata=configured.get("RESOURCE_METADATA"),
    )
    return Guard(_find_attachment(configured.get("VERIFIER")), requirement)


def _is_async(function: Callable[..., Any]) -> bool:
    # That of asyncio does not see the marks of Django before Python 3.12.
    return iscoroutinefunction(function)  # pyright: ignore[reportDeprecated]  # from Python 3.14 on


def _read_settings() -> Mapping[str, Any]:
    configured: Mapping[str, Any] = getattr(settings, "RESCIND", {})
    if unknown := configured.keys() - _KEYS:
        raise ImproperlyConfigured(
            f"RESCIND has unknown keys: {', '.join(sorted(unknown))}. "
            f"Those that exist: {', '.join(sorted(_KEYS))}"
        )
    return configured


@lru_cache
def _find_attachment(verifier: Any) -> Attachment:
    return Attachment(verifier)


def _serve(
    guard: Guard, request: HttpRequest, respond: Callable[[], Any]
) -> HttpResponseBase | Awaitable[HttpResponseBase]:
    """Serve a call in a thread, or return a coroutine if the view returns one.

    `dispatch` of an asynchronous class is such a view: only its result shows that.
    """
    call = ThreadCall.begin(guard, request.META)
    if isinstance(call, Refusal):
        return _build_response(call)
    _add(request, rescind=call.record, rescind_hold=call.held)
    try:
        response = respond()
    except BaseException:
        call.end()
        raise
    if iscoroutine(response):
        call.end()
        return _serve_coroutine(guard, request, response)
    if (refusal := call.refusal) is not None:
        call.end()
        response.close()
        return _build_response(refusal)
    return hold_response(response, guard, request, call)


async def _serve_coroutine(
    guard: Guard, request: HttpRequest, response: Coroutine[Any, Any, HttpResponseBase]
) -> HttpResponseBase:
    try:
        return await _serve_async(guard, request, lambda: response)
    finally:
        response.close()  # it never began if the call was refused


def hold_response(
    response: HttpResponseBase, guard: Guard, request: HttpRequest, call: ThreadCall
) -> HttpResponseBase:
    """Return a response that is broken off when its token is denied, or end the call."""
    match response:
        case StreamingHttpResponse(is_async=False):
            response.streaming_content = call.stream(cast("Any", response.streaming_content))
        case StreamingHttpResponse():
            call.end()
            _hold_async_parts(response, guard, request)
        case _:
            call.end()
    return response


async def _serve_async(
    guard: Guard, request: HttpRequest, respond: AsyncRespond
) -> HttpResponseBase:
    holding = await guard.ahold(
        cgi_variables.headers_of(request.META), cgi_variables.address_of(request.META)
    )
    if isinstance(holding, Refusal):
        return _build_response(holding)
    try:
        async with holding as record:
            _add(request, rescind=record)
            response = await respond()
    except (DeniedError, ExceptionGroup):
        if holding.reason is None:
            raise  # the view's own
        return _build_response(guard.refuse(holding.reason))
    match response:
        case StreamingHttpResponse(is_async=True):
            _hold_async_parts(response, guard, request)
        case StreamingHttpResponse():
            call = ThreadCall.begin(guard, request.META)
            if isinstance(call, Refusal):
                response.close()
                return _build_response(call)
            response.streaming_content = call.stream(cast("Any", response.streaming_content))
        case _:
            pass
    return response


def _hold_async_parts(response: StreamingHttpResponse, guard: Guard, request: HttpRequest) -> None:
    parts = cast("AsyncIterable[bytes]", response.streaming_content)
    response.streaming_content = _iterate_held(parts, guard, request)


async def _iterate_held(
    parts: AsyncIterable[bytes], guard: Guard, request: HttpRequest
) -> AsyncIterator[bytes]:
    """Yield the parts of a response while its token is good.

    When it is denied, raise CancelledError. Django then breaks the response off without a
    traceback, as if the client had disconnected.
    """
    holding = await guard.ahold(
        cgi_variables.headers_of(request.META), cgi_variables.address_of(request.META)
    )
    if isinstance(holding, Refusal):
        raise asyncio.CancelledError
    try:
        async with holding:
            async for part in parts:
                yield part
    except DeniedError:
        if holding.reason is None:
            raise  # the application's own
        raise asyncio.CancelledError from None


class _RefusalResponse(HttpResponse):
    """A refusal. Django awaits it in place of an asynchronous class's coroutine."""

    def __await__(self) -> Generator[Any, None, Self]:
        yield from ()
        return self


def _build_response(refusal: Refusal) -> HttpResponse:
    return _RefusalResponse(refusal.body, status=refusal.status, headers=dict(refusal.headers))


def _add(request: HttpRequest, **facts: object) -> None:
    """Set attributes that the types of Django do not know."""
    for name, fact in facts.items():
        setattr(request, name, fact)
