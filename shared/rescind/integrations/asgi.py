"""Middleware for any ASGI application that requires a good token for each call.

    app = RescindMiddleware(app, require={"search:read"})

The application finds the token's record in `scope["state"]["rescind"]` (Starlette and FastAPI:
`request.state.rescind`). Some tokens are good from some networks only, so the server must know the
caller's address. Behind a proxy, configure that (uvicorn: `--proxy-headers`).

Each call is held: it ends within milliseconds after its token is hit, even an event stream or a
websocket without traffic. The application is cancelled, and:

* A response that has not begun is replaced by the refusal that a new call would get.
* A response that has begun is broken off without a regular end, so that no client mistakes the part
  for the whole.
* A websocket is closed with the reason, as 1008, or as 1013 (try again later) if the lease was
  lost.

Work in another task continues, such as a stateful MCP session or a background job. Hold it there
(`Verifier.hold`).

Make this middleware the outermost one (in Starlette the one added last). A `BaseHTTPMiddleware` of
Starlette around it ends a broken-off stream as if it were complete. Before a call to another
origin, a browser sends a preflight without a token; `preflight=True` passes it on.

    app = RescindMiddleware(CORSMiddleware(api, allow_origins=[…]), preflight=True)

With httptools, uvicorn treats the trailers of a chunked body as headers, which RFC 9110, section
6.5.1, forbids. Run uvicorn with `--http h11`, or behind a proxy that drops trailers.
"""

from collections.abc import Awaitable, Callable, Collection

from rescind.client.holds.hold import Hold
from rescind.core.record import Record
from rescind.core.verdict import Allowed, Denied, Reason
from rescind.errors import DeniedError, UnreachableError
from rescind.integrations.asgi_call import (
    POLICY_VIOLATION,
    AsgiCall,
    Receive,
    Scope,
    Send,
    address_of,
)
from rescind.integrations.attachment import Attachment, Checking
from rescind.wire import bearer
from rescind.wire.bearer import Refusal

__all__ = ["POLICY_VIOLATION", "Checking", "RescindMiddleware"]

App = Callable[[Scope, Receive, Send], Awaitable[None]]


class RescindMiddleware:
    """Middleware that admits calls with a good bearer token for these scopes and this audience.

    Without `verifier`, the middleware attaches to the sidecar that the environment names, at the
    first call and again at each later call until that succeeds; it closes the connection at
    shutdown. `audience` None means the sidecar's service. Paths in `exempt` match exactly and need
    no token. `hold=False` checks a call only at its beginning, and never cancels the application.
    `preflight=True` passes CORS preflights on without a token: OPTIONS with `Origin` and
    `Access-Control-Request-Method` (Fetch, 3.3). `resource_metadata` is the URL of the resource's
    metadata (RFC 9728), for the challenges. Raises ValueError for an invalid URL, and ScopeError
    for an invalid scope.
    """

    def __init__(
        self,
        app: App,
        verifier: Checking | None = None,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        exempt: Collection[str] = ("/healthz",),
        hold: bool = True,
        preflight: bool = False,
        resource_metadata: str | None = None,
    ) -> None:
        self._app = app
        self._attachment = Attachment(verifier)
        self._require = bearer.required(require)
        self._audience = audience
        self._exempt = frozenset(exempt)
        self._hold = hold
        self._preflight = preflight
        self._metadata = bearer.metadata_url(resource_metadata)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._attachment.closing(send))
        elif scope["path"] in self._exempt or (self._preflight and _is_preflight(scope)):
            await self._app(scope, receive, send)
        else:
            await self._guard(scope, receive, send)

    async def _guard(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = AsgiCall(scope, receive, send)
        token = bearer.find(scope["headers"])
        if token is None:
            await call.refuse(self._build_refusal(Reason.MISSING))
            return
        try:
            verifier = await self._attachment.verifier()
        except UnreachableError:
            await call.refuse(self._build_refusal(Reason.UNAVAILABLE))
            return
        if self._hold:
            await self._serve_held(scope, call, self._create_hold(verifier, token, scope))
            return
        match await verifier.acheck(
            token, require=self._require, audience=self._audience, address=address_of(scope)
        ):
            case Allowed(record):
                await self._app(_add_record(record, scope), receive, send)
            case Denied(reason):
                await call.refuse(self._build_refusal(reason))

    async def _serve_held(self, scope: Scope, call: AsgiCall, holding: Hold) -> None:
        try:
            async with holding as record:
                await self._app(_add_record(record, scope), call.receive, call.sending(holding))
        except (DeniedError, ExceptionGroup):
            if holding.reason is None:
                raise  # the application's own
            await call.cut(self._build_refusal(holding.reason))

    def _create_hold(self, verifier: Checking, token: str, scope: Scope) -> Hold:
        return verifier.hold(
            token, require=self._require, audience=self._audience, address=address_of(scope)
        )

    def _build_refusal(self, reason: Reason) -> Refusal:
        self._attachment.note(reason)
        return bearer.refuse(reason, require=self._require, resource_metadata=self._metadata)


def _is_preflight(scope: Scope) -> bool:
    """Return True for a CORS preflight, which a browser sends without a token."""
    if scope["type"] != "http" or scope["method"] != "OPTIONS":
        return False
    names = {name.lower() for name, _ in scope["headers"]}
    return b"authorization" not in names and names >= {b"origin", b"access-control-request-method"}


def _add_record(record: Record, scope: Scope) -> Scope:
    return {**scope, "state": {**scope.get("state", {}), "rescind": record}}
