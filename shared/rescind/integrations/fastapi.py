"""A dependency for FastAPI that passes the record of a valid token to the route.

    from rescind.integrations.fastapi import Rescind

    @app.get("/search")
    async def search(record: Annotated[Record, Depends(Rescind(require={"search:read"}))]): ...

The OpenAPI document shows it as a bearer scheme. Scopes may also come from FastAPI's own
`Security(Rescind(), scopes=["search:read"])`, at the route or at a router above it.

All dependencies of an application share one verifier, `app.state.rescind`. Set it at start-up, or
in a test to a `rescind.testing.FakeVerifier`. Otherwise it is attached to the sidecar that the
environment names, at the first call and again at each later call until that succeeds.

A dependency is checked at the beginning of a call only. For streams and long calls, put
`RescindMiddleware` around the application: it also ends calls whose token is denied later.
"""

import asyncio
import json
from collections.abc import Collection
from typing import Any, cast

from rescind.client.verifier import Verifier
from rescind.core.record import Record
from rescind.core.verdict import Allowed, Denied, Reason
from rescind.errors import UnreachableError
from rescind.integrations.asgi import POLICY_VIOLATION, Checking
from rescind.integrations.asgi_call import address_of
from rescind.integrations.attachment import Unready
from rescind.integrations.extras import needing
from rescind.wire import bearer
from rescind.wire.bearer import Refusal

with needing("fastapi", "fastapi"):
    from fastapi import FastAPI, HTTPException, Request, WebSocketException
    from fastapi.openapi.models import HTTPBearer
    from fastapi.responses import Response
    from fastapi.security import SecurityScopes
    from fastapi.security.base import SecurityBase
    from starlette.requests import HTTPConnection

_STATE = "rescind"
_WRITTEN_BY_FASTAPI = frozenset({"content-type", "content-length"})


class RefusedError(HTTPException):
    """Raised to refuse a call (RFC 6750).

    FastAPI answers with the same status and headers as every integration, and with the problem
    (RFC 9457) as `detail`. After `answer_with_problems(app)` the problem is the whole body.
    """

    def __init__(self, refusal: Refusal) -> None:
        headers = {name: text for name, text in refusal.headers if name not in _WRITTEN_BY_FASTAPI}
        super().__init__(refusal.status, json.loads(refusal.body), headers)
        self.refusal = refusal


class Rescind(SecurityBase):
    """A dependency that admits calls with a valid bearer token for these scopes and this audience.

    `audience` None means the sidecar's service. A websocket that is refused is closed with 1008.
    `resource_metadata` is the URL of the resource's metadata (RFC 9728), for the challenges. Raises
    ValueError for an invalid URL, and ScopeError for an invalid scope.
    """

    def __init__(
        self,
        verifier: Checking | None = None,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        resource_metadata: str | None = None,
    ) -> None:
        self.model = HTTPBearer(description="A rescind token, checked on every call.")
        self.scheme_name = "rescind"
        self._verifier = verifier
        self._require = bearer.required(require)
        self._audience = audience
        self._metadata = bearer.metadata_url(resource_metadata)
        self._unready = Unready()

    async def __call__(self, connection: HTTPConnection, scopes: SecurityScopes) -> Record:
        """Return the record, or raise RefusedError (WebSocketException for a websocket)."""
        match await self._judge(connection, self._require.union(scopes.scopes)):
            case Allowed(record):
                return record
            case Refusal() as refusal if connection.scope["type"] == "websocket":
                reason = dict(refusal.headers)["x-rescind-reason"]
                raise WebSocketException(POLICY_VIOLATION, reason)
            case Refusal() as refusal:
                raise RefusedError(refusal)

    async def _judge(
        self, connection: HTTPConnection, require: frozenset[str]
    ) -> Allowed | Refusal:
        token = bearer.find(connection.scope["headers"])
        if token is None:
            return self._build_refusal(Reason.MISSING, require)
        try:
            verifier = self._verifier or await _find_or_attach(connection.app.state)
        except UnreachableError as error:
            self._unready.note(Reason.UNAVAILABLE, str(error))
            return self._build_refusal(Reason.UNAVAILABLE, require)
        match await verifier.acheck(
            token,
            require=require,
            audience=self._audience,
            address=address_of(connection.scope),
        ):
            case Allowed() as allowed:
                return allowed
            case Denied(reason):
                return self._build_refusal(reason, require)

    def _build_refusal(self, reason: Reason, require: frozenset[str]) -> Refusal:
        self._unready.note(reason)
        return bearer.refuse(reason, require=require, resource_metadata=self._metadata)


def answer_with_problems(app: FastAPI) -> None:
    """Register a handler that sends a refusal's problem as the whole body.

    The middleware and the proxies answer in the same way.
    """

    async def answer(_: Request, error: Exception) -> Response:
        refusal = error.refusal if isinstance(error, RefusedError) else bearer.unauthenticated()
        return Response(refusal.body, refusal.status, dict(refusal.headers))

    app.add_exception_handler(RefusedError, answer)


async def _find_or_attach(state: Any) -> Checking:
    """Return the application's verifier. Raises UnreachableError."""
    verifier = cast("Checking | None", getattr(state, _STATE, None))
    if verifier is not None:
        return verifier
    # In a thread: a sidecar that hangs must not block the routes that need no token.
    new_verifier = await asyncio.to_thread(Verifier.attach)
    verifier = cast("Checking | None", getattr(state, _STATE, None))
    if verifier is not None:
        new_verifier.close()  # a concurrent first call has attached already
        return verifier
    setattr(state, _STATE, new_verifier)
    return new_verifier
