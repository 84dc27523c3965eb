"""The application: routes, problems, middleware."""

from importlib.metadata import version

from fastapi import FastAPI

from rescind_authority.http import events, fleet, health, lease_term, problems, sessions
from rescind_authority.http.admission.middleware import AdmissionMiddleware, RequestCounter
from rescind_authority.http.dependencies import UseCases
from rescind_authority.http.oauth import clients, metadata, presented_tokens, token_endpoint
from rescind_authority.http.revocations import revocations
from rescind_authority.http.sidecar_routes import SidecarRoutes
from rescind_authority.http.tokens import (
    delegations,
    rotate_and_expire,
    token_list,
    tokens,
    tree,
)

_DESCRIPTION = """
Revoke a token once. Connected verifiers deny it in milliseconds, and the others when their lease
ends.

Errors are problem documents (RFC 9457) whose `type` is stable. Send an `Idempotency-Key` with a
command: a repeat with the same key is not executed again.
"""
_REFUSALS = {
    400: "The body is not UTF-8 text, or is nested too deeply.",
    401: "The token is missing or not accepted.",
    403: "The token lacks a scope.",
    413: "The body is larger than a mebibyte, or than 64 KiB without a token.",
    422: "The request is invalid; `errors` names the fields.",
    503: "Not available now. Nothing was changed, unless the type is `outcome-unknown`.",
}


def application(use_cases: UseCases, *, issuer: str | None = None) -> FastAPI:
    """Return an application for the use cases.

    `issuer` is the OAuth issuer. If it is known only after the server listens, set
    `app.state.issuer` then.
    """
    app = FastAPI(
        title="rescind authority",
        version=version("rescind"),
        description=_DESCRIPTION,
        docs_url=None,  # the pages would load scripts from other hosts
        redoc_url=None,
        redirect_slashes=False,  # the URL would be built from the request's Host
    )
    app.state.use_cases = use_cases
    app.state.issuer = issuer
    problems.install(app, refused=use_cases.refused)
    # `token_list` first: otherwise `/v1/tokens/{token_id}` matches `/v1/tokens/count`.
    routers = (
        token_list,
        rotate_and_expire,
        tokens,
        tree,
        delegations,
        revocations,
        sessions,
        clients,
        fleet,
        events,
        lease_term,
    )
    for router in (module.router for module in routers):
        app.include_router(router, responses=problems.openapi_responses(_REFUSALS))
    for router in (token_endpoint.router, presented_tokens.router, metadata.router):
        app.include_router(router)  # the last one answers wrong methods
    app.include_router(health.router)
    app.router.routes.extend(SidecarRoutes(use_cases.sidecar_api, use_cases.metrics).routes())
    app.add_middleware(AdmissionMiddleware, find_own_kind=use_cases.authoriser.find_own_kind)
    app.add_middleware(RequestCounter, metrics=use_cases.metrics)
    return app
