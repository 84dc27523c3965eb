"""A plugin for Litestar that requires a good token for each call, and a guard for scopes.

    @get("/search", guards=[requires("search:read")])
    async def search(request: Request) -> str:
        return request.state.rescind.subject

    app = Litestar([search], plugins=[RescindPlugin()])

The plugin adds `rescind.integrations.asgi.RescindMiddleware` to all routes: read there how calls
end with their token. A guard is checked at the beginning of a call. A call that must also end when
a scope of its own is taken away has the middleware as its own:

    @get("/export", middleware=[DefineMiddleware(RescindMiddleware, require={"search:export"})])

Litestar answers CORS preflights in front of the middleware (`CORSConfig`).
"""

import json
from collections.abc import Callable, Collection
from typing import Any, cast

from rescind.core.record import Record
from rescind.core.verdict import Reason
from rescind.integrations.asgi import RescindMiddleware
from rescind.integrations.attachment import Attachment, Checking
from rescind.integrations.extras import needing
from rescind.integrations.guard import Requirement
from rescind.wire import bearer
from rescind.wire.bearer import Refusal

with needing("litestar", "litestar"):
    from litestar.config.app import AppConfig
    from litestar.connection import ASGIConnection
    from litestar.exceptions import HTTPException
    from litestar.handlers.base import BaseRouteHandler
    from litestar.middleware import DefineMiddleware
    from litestar.plugins import InitPlugin

__all__ = ["RescindPlugin", "requires"]

_WRITTEN_BY_LITESTAR = frozenset({"content-type", "content-length"})


class RescindPlugin(InitPlugin):
    """A plugin that admits calls with a good bearer token for these scopes and this audience.

    The parameters are those of `rescind.integrations.asgi.RescindMiddleware`.
    """

    def __init__(
        self,
        verifier: Checking | None = None,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        exempt: Collection[str] = ("/healthz",),
        resource_metadata: str | None = None,
    ) -> None:
        self._attachment = Attachment(verifier)
        self._middleware = DefineMiddleware(
            cast("Any", RescindMiddleware),  # its messages are those of ASGI, untyped
            verifier=self._attachment,  # one for all routes: each route has its own middleware
            require=Requirement.parse(require, resource_metadata=resource_metadata).scopes,
            audience=audience,
            exempt=exempt,
            resource_metadata=resource_metadata,
        )

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the middleware in front of the application's own."""
        app_config.middleware.insert(0, self._middleware)
        app_config.on_shutdown.append(self._attachment.close)
        return app_config


def requires(
    *scopes: str,
) -> Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], None]:
    """Return a guard that admits calls with these scopes. Raises ScopeError for an invalid one.

    A refusal is an HTTPException of the framework, with the headers of every integration.
    """
    required = bearer.required(scopes)

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        record = connection.scope["state"].get("rescind")
        if not isinstance(record, Record):
            raise _build_error(bearer.unauthenticated())
        if not record.grants(required):
            raise _build_error(bearer.refuse(Reason.INSUFFICIENT_SCOPE, require=required))

    return guard


def _build_error(refusal: Refusal) -> HTTPException:
    problem = json.loads(refusal.body)
    return HTTPException(
        status_code=refusal.status,
        detail=problem["detail"],
        headers={name: text for name, text in refusal.headers if name not in _WRITTEN_BY_LITESTAR},
        extra={"reason": problem["reason"]},
    )
