"""Interceptors for gRPC servers that require a good token for each call.

    server = grpc.aio.server(interceptors=[RescindInterceptor(require={"search:read"})])

    pool = ThreadPoolExecutor(32)
    server = grpc.server(pool, interceptors=[ThreadRescindInterceptor(require={"search:read"})])

A handler finds the token's record in `RECORD.get()`. The token is in the metadata `authorization`,
as `Bearer TOKEN`. `methods` adds scopes to single methods:

    RescindInterceptor(methods={"/search.Search/Find": {"search:read"}})

It then names every method: a call of another one is refused, so that a misspelled name never checks
less than its author intended.

A refusal is UNAUTHENTICATED, PERMISSION_DENIED, or, while the token cannot be checked, UNAVAILABLE.
The trailing metadata have its `x-rescind-reason` and `www-authenticate`, and what clients need to
try again: `retry-after` and `grpc-retry-pushback-ms` (gRFC A6).

Each call is held until it ends. With `grpc.aio`, the handler is cancelled within milliseconds after
its token is denied, also in a stream, and the client gets the refusal. A thread cannot be
interrupted, so with `grpc.server`:

* A stream is cancelled at once: the client gets CANCELLED, and `context.is_active()` is False.
* A call without a stream gets the refusal once its handler has returned.
"""

import re
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import aclosing, contextmanager
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, Never, TypeAlias
from urllib.parse import unquote

from rescind.client.holds.hold import ThreadHold
from rescind.core.record import Record
from rescind.core.verdict import NOT_JUDGED, Reason
from rescind.errors import DeniedError
from rescind.integrations.attachment import Attachment, Checking
from rescind.integrations.extras import needing
from rescind.integrations.guard import Guard, Requirement
from rescind.wire import bearer
from rescind.wire.bearer import Refusal

with needing("grpc", "grpcio"):
    import grpc
    import grpc.aio

__all__ = ["HEALTH", "RECORD", "RescindInterceptor", "ThreadRescindInterceptor"]

HEALTH = ("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch")
"""The methods that need no token by default."""

RECORD: ContextVar[Record] = ContextVar("rescind.record")
"""The record of the token, in the context of a handler."""

# Handlers take and return the messages of any service, and gRPC tells only their kinds apart.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
MaybeHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
Behavior: TypeAlias = Callable[[Any, Any], Any]
Details: TypeAlias = grpc.HandlerCallDetails

_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    503: grpc.StatusCode.UNAVAILABLE,
}
_SENT = {"x-rescind-reason", "www-authenticate", "retry-after"}
_BUILDERS: dict[tuple[bool, bool], tuple[str, Callable[..., Handler]]] = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}
_METHOD = re.compile(r"/[\w.]+/\w+", re.ASCII)
_END = object()


class _Guards:
    """The guard of each method, for both interceptors."""

    def __init__(
        self,
        verifier: Checking | Attachment | None = None,
        *,
        require: Collection[str] = (),
        methods: Mapping[str, Collection[str]] | None = None,
        audience: str | None = None,
        exempt: Collection[str] = HEALTH,
    ) -> None:
        attachment, needed = Attachment.of(verifier), bearer.required(require)
        self._attachment = attachment
        self._exempt = frozenset(map(_parse_method, exempt))
        self._all = Guard(attachment, Requirement.parse(needed, audience=audience))
        self._by_method = methods is not None
        self._methods: dict[str, Guard] = {}
        for method, scopes in (methods or {}).items():
            both = Requirement.parse(needed | bearer.required(scopes), audience=audience)
            self._methods[_parse_method(method)] = Guard(attachment, both)

    def close(self) -> None:
        """Close the connection to the sidecar, after the server has stopped.

        A verifier that was passed as an argument stays open.
        """
        self._attachment.close()

    def find(self, method: str) -> Guard | Refusal | None:
        """Return the guard of a method, the refusal of one without scopes, or None if exempt."""
        if method in self._exempt:
            return None
        if not self._by_method:
            return self._all
        return self._methods.get(method) or bearer.refuse(Reason.INSUFFICIENT_SCOPE)


class RescindInterceptor(_Guards, grpc.aio.ServerInterceptor):
    """Interceptor of `grpc.aio` that admits calls with a good bearer token.

    Without `verifier`, it attaches to the sidecar that the environment names, at the first call and
    again at each later call until that succeeds. Each call needs the scopes of `require`, and a
    call of a method in `methods` needs those of the method too. If `methods` is given, a call of a
    method that it lacks is refused. `audience` None means the sidecar's service. Methods in
    `exempt` need no token. The name of a method is `/package.Service/Method`. Raises ScopeError for
    an invalid scope, and ValueError for an invalid name.
    """

    async def intercept_service(
        self,
        continuation: Callable[[Details], Awaitable[MaybeHandler]],
        handler_call_details: Details,
    ) -> MaybeHandler:
        """Return the handler of a method, which checks each call first."""
        handler = await continuation(handler_call_details)
        guard = self.find(handler_call_details.method)
        if handler is None or guard is None:
            return handler
        return _replace(handler, partial(_guard, guard))


class ThreadRescindInterceptor(_Guards, grpc.ServerInterceptor):
    """Interceptor of `grpc.server`, whose handlers run in threads.

    The parameters are those of `RescindInterceptor`.
    """

    def intercept_service(
        self,
        continuation: Callable[[Details], MaybeHandler],
        handler_call_details: Details,
    ) -> MaybeHandler:
        """Return the handler of a method, which checks each call first."""
        handler = continuation(handler_call_details)
        guard = self.find(handler_call_details.method)
        if handler is None or guard is None:
            return handler
        streams = handler.request_streaming or handler.response_streaming
        serve = _stream_in_thread if handler.response_streaming else _serve_in_thread
        return _replace(handler, partial(_guard_thread, guard, serve, cancels=streams))


def _replace(handler: Handler, wrap: Callable[[Behavior], Behavior]) -> Handler:
    """Return a handler of the same kind with another behavior."""
    kind, build = _BUILDERS[bool(handler.request_streaming), bool(handler.response_streaming)]
    return build(
        wrap(getattr(handler, kind)),
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


def _guard(guard: Guard | Refusal, behavior: Behavior) -> Behavior:
    # A coroutine function for streams too. A generator would be cancelled while it waits outside,
    # in the code of gRPC, and could not end its call.
    async def serve(request: Any, context: Any) -> Any:
        if isinstance(guard, Refusal):
            return await _abort(context, guard)
        return await _serve(guard, behavior, request, context)

    return serve


async def _serve(guard: Guard, behavior: Behavior, request: Any, context: Any) -> Any:
    """Answer a call of `grpc.aio` while its token is held."""
    holding = await guard.ahold(*_read_call(context))
    if isinstance(holding, Refusal):
        await _abort(context, holding)
    try:
        async with holding as record:
            RECORD.set(record)
            answer = behavior(request, context)
            if not hasattr(answer, "__aiter__"):
                return await answer
            async with aclosing(answer):
                async for message in answer:
                    await context.write(message)
    except (DeniedError, ExceptionGroup):
        if holding.reason is None:
            raise  # the handler's own
        await _abort(context, guard.refuse(holding.reason))


async def _abort(context: Any, refusal: Refusal) -> Never:
    code, details, metadata = _describe(refusal)
    await context.abort(code, details, metadata)
    raise AssertionError("context.abort returned")


def _guard_thread(
    guard: Guard | Refusal, serve: Callable[..., Any], behavior: Behavior, *, cancels: bool
) -> Behavior:
    def begin(request: Any, context: Any) -> Any:
        if isinstance(guard, Refusal):
            _abort_thread(context, guard)
        return serve(guard, partial(behavior, request, context), context, cancels=cancels)

    return begin


def _serve_in_thread(
    guard: Guard, behave: Callable[[], Any], context: Any, *, cancels: bool
) -> Any:
    """Return the response of a call, or abort it if its token was denied meanwhile."""
    with _hold_in_thread(guard, context, cancels=cancels) as held:
        response = _enter(held.record).run(behave)
        _require_good(guard, held, context)
        return response


def _stream_in_thread(
    guard: Guard, behave: Callable[[], Any], context: Any, *, cancels: bool
) -> Iterator[Any]:
    """Yield the responses of a call until its token is denied."""
    with _hold_in_thread(guard, context, cancels=cancels) as held:
        inside = _enter(held.record)
        messages = inside.run(behave)
        while (message := inside.run(next, messages, _END)) is not _END:
            _require_good(guard, held, context)
            yield message
        _require_good(guard, held, context)


@contextmanager
def _hold_in_thread(guard: Guard, context: Any, *, cancels: bool) -> Generator[ThreadHold]:
    """Hold the token of a call for the block, or abort the call."""
    holding = guard.hold(*_read_call(context))
    if isinstance(holding, Refusal):
        _abort_thread(context, holding)
    try:
        held = holding.__enter__()
    except DeniedError:
        _abort_thread(context, guard.refuse(holding.reason or Reason.UNAVAILABLE))
    try:
        if cancels:
            held.call_when_denied(context.cancel)
        yield held
    finally:
        holding.__exit__()


def _require_good(guard: Guard, held: ThreadHold, context: Any) -> None:
    if held.reason is not None:
        _abort_thread(context, guard.refuse(held.reason))


def _abort_thread(context: Any, refusal: Refusal) -> Never:
    code, details, metadata = _describe(refusal)
    context.set_trailing_metadata(metadata)
    context.abort(code, details)
    raise AssertionError("context.abort returned")


def _enter(record: Record) -> Context:
    """Return a context in which RECORD is set."""
    inside = copy_context()
    inside.run(RECORD.set, record)
    return inside


def _read_call(context: Any) -> tuple[list[tuple[bytes, bytes]], str | None]:
    """Return the metadata of a call as headers, and its caller's address."""
    metadata: Iterable[tuple[str, str | bytes]] = context.invocation_metadata() or ()
    headers = [
        (name.encode(), text.encode("latin-1") if isinstance(text, str) else text)
        for name, text in metadata
    ]
    family, _, place = unquote(context.peer()).partition(":")
    host = place.rpartition(":")[0].strip("[]")
    return headers, host if family in {"ipv4", "ipv6"} else None


def _describe(refusal: Refusal) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]]:
    """Return the code, the details and the trailing metadata of a refusal."""
    metadata = [each for each in refusal.headers if each[0] in _SENT]
    if refusal.reason in NOT_JUDGED:
        metadata.append(("grpc-retry-pushback-ms", str(bearer.RETRY_AFTER_S * 1_000)))
    return _CODES[refusal.status], bearer.describe(refusal.reason), tuple(metadata)


def _parse_method(name: str) -> str:
    """Return the name of a method, unchanged. Raises ValueError."""
    if not _METHOD.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a method: write /package.Service/Method")
    return name
