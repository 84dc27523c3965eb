"""Middleware for any ASGI application that requires a valid token for each call.

    app = RescindMiddleware(app, require={"search:read"})

The application finds the token's record in `scope["state"]["rescind"]` (Starlette and FastAPI:
`request.state.rescind`). Some tokens are valid from some networks only, so the server must know the
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

from rescind.core.record import Record
from rescind.errors import DeniedError
from rescind.integrations.asgi_call import (
    POLICY_VIOLATION,
    AsgiCall,
    Receive,
    Scope,
    Send,
    address_of,
)
from rescind.integrations.attachment import Attachment, Checking
from rescind.integrations.guard import Guard, Requirement, open_paths
from rescind.wire.bearer import Refusal

__all__ = ["POLICY_VIOLATION", "Checking", "RescindMiddleware"]

App = Callable[[Scope, Receive, Send], Awaitable[None]]


class RescindMiddleware:
    """Middleware that admits calls with a valid bearer token for these scopes and this audience.

    Without `verifier`, the middleware attaches to the sidecar that the environment names, at the
    first call and again at each later call until that succeeds; it closes the connection at
    shutdown. `audience` None means the sidecar's service. Paths in `exempt` match exactly and need
    no token. `hold=False` checks a call only at its beginning, and never cancels the application.
    `preflight=True` passes CORS preflights on without a token: OPTIONS with `Origin` and
    `Access-Control-Request-Method` (Fetch, 3.3). `resource_metadata` is the URL of the resource's
    metadata (RFC 9728), for the challenges. Raises ValueError for an invalid URL or `exempt`, and
    ScopeError for an invalid scope.
    """

    def __init__(
        self,
        app: App,
        verifier: Checking | Attachment | None = None,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        exempt: Collection[str] = ("/healthz",),
        hold: bool = True,
        preflight: bool = False,
        resource_metadata: str | None = None,
    ) -> None:
        self._app = app
        self._attachment = Attachment.of(verifier)
        requirement = Requirement.parse(
            require, audience=audience, resource_metadata=resource_metadata
        )
        self._guard = Guard(self._attachment, requirement)
        self._exempt = open_paths(exempt)
        self._hold = hold
        self._preflight = preflight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._attachment.closing(send))
        elif scope["path"] in self._exempt or (self._preflight and _is_preflight(scope)):
            await self._app(scope, receive, send)
        else:
            serve = self._serve_held if self._hold else self._serve_checked
            await serve(scope, receive, send)

    async def _serve_checked(self, scope: Scope, receive: Receive, send: Send) -> None:
        match await self._guard.acheck(scope["headers"], address_of(scope)):
            case Refusal() as refusal:
                await AsgiCall(scope, receive, send).refuse(refusal)
            case record:
                await self._app(_add_record(record, scope), receive, send)

    async def _serve_held(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = AsgiCall(scope, receive, send)
        holding = await self._guard.ahold(scope["headers"], address_of(scope))
        if isinstance(holding, Refusal):
            await call.refuse(holding)
            return
        try:
            async with holding as record:
                await self._app(_add_record(record, scope), call.receive, call.sending(holding))
        except (DeniedError, ExceptionGroup):
            if holding.reason is None:
                raise  # the application's own
            await call.cut(self._guard.refuse(holding.reason))


def _is_preflight(scope: Scope) -> bool:
    """Return True for a CORS preflight, which a browser sends without a token."""
    if scope["type"] != "http" or scope["method"] != "OPTIONS":
        return False
    names = {name.lower() for name, _ in scope["headers"]}
    return b"authorization" not in names and names >= {b"origin", b"access-control-request-method"}


def _add_record(record: Record, scope: Scope) -> Scope:
    return {**scope, "state": {**scope.get("state", {}), "rescind": record}}
