"""The application: routes, problems, middleware."""

from importlib.metadata import version

from fastapi import FastAPI

from rescind_authority.http import (
    changes,
    delegations,
    events,
    fleet,
    health,
    listing,
    oauth,
    problems,
    revocations,
    sessions,
    term,
    tokens,
    tree,
)
from rescind_authority.http.context import UseCases
from rescind_authority.http.link import Counter
from rescind_authority.http.middleware import Bounded, Counted

_DESCRIPTION = """
Revoke a token once; every verifier denies it in milliseconds.

Errors are problem documents (RFC 9457) whose `type` is stable. Commands take an `Idempotency-Key`:
repeated under it, a command is carried out once.
"""
_REFUSALS = {
    400: "The body is no text, or nested too deeply.",
    401: "No token was accepted.",
    403: "The token lacks a scope.",
    413: "The body is larger than a mebibyte.",
    422: "Something in the request is wrong; `errors` names the fields.",
    503: "It cannot be done now; nothing was changed, or the type is `outcome-unknown`.",
}


def application(use_cases: UseCases) -> FastAPI:
    """Make the application around the use cases."""
    app = FastAPI(
        title="rescind authority",
        version=version("rescind"),
        description=_DESCRIPTION,
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
    )
    app.state.use_cases = use_cases
    problems.install(app)
    # `listing` first: `/v1/tokens/count` is no token's id.
    routers = (
        listing,
        changes,
        tokens,
        tree,
        delegations,
        revocations,
        sessions,
        fleet,
        events,
        term,
    )
    for router in (module.router for module in routers):
        app.include_router(router, responses=problems.told(_REFUSALS))
    app.include_router(oauth.router)
    app.include_router(health.router)
    app.router.routes.extend(Counter(use_cases.desk, use_cases.metrics).routes())
    app.add_middleware(Bounded)
    app.add_middleware(Counted, metrics=use_cases.metrics)
    return app
