"""The metadata of the OAuth server (RFC 8414), and the endpoint for logins, which it has not."""

from typing import Any

from fastapi import APIRouter, Request

from rescind_authority.errors import NoIssuerError
from rescind_authority.http import problems
from rescind_authority.http.oauth_errors import OAuthError
from rescind_authority.usecases.oauth.key_sets import ALGORITHMS
from rescind_authority.usecases.oauth.registration import GrantType

router = APIRouter(tags=["oauth"])

_OF_CLIENTS = ["client_secret_basic", "client_secret_post", "private_key_jwt"]


@router.get(
    "/.well-known/oauth-authorization-server",
    summary="Read the OAuth server metadata (RFC 8414)",
    responses=problems.openapi_responses(
        {404: "This authority has no issuer: RESCIND_ISSUER is not set."}
    ),
)
async def metadata(request: Request) -> dict[str, Any]:
    """Return the metadata of the authorization server.

    The issuer is RESCIND_ISSUER, else the address at which the authority listens, and never depends
    on the request. An authority that listens at every address has no issuer without the setting.
    """
    issuer: str | None = request.app.state.issuer
    if issuer is None:
        raise NoIssuerError
    algorithms = list(ALGORITHMS)
    return {
        "issuer": issuer,
        # Some clients cannot read metadata without it. It refuses every request.
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "response_types_supported": ["none"],
        "token_endpoint": f"{issuer}/oauth/token",
        "grant_types_supported": list(GrantType),
        "token_endpoint_auth_methods_supported": ["none", *_OF_CLIENTS],
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint": f"{issuer}/oauth/introspect",
        "introspection_endpoint_auth_methods_supported": _OF_CLIENTS,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "revocation_endpoint_auth_methods_supported": _OF_CLIENTS,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
    }


@router.get(
    "/oauth/authorize",
    summary="Learn that there is no interactive login",
    responses={400: {"description": "Always: RFC 6749, 5.2, `unsupported_response_type`."}},
)
async def authorize() -> None:
    """Refuse the request: this server logs no users in, and redirects to no URL."""
    raise OAuthError(
        "unsupported_response_type",
        "this server has no interactive login: log users in at your identity provider, and issue "
        "their sessions with POST /v1/tokens.",
    )


@router.api_route(
    "/oauth/{endpoint}",
    methods=["GET", "PUT", "PATCH", "DELETE"],
    include_in_schema=False,
)
async def wrong_method(endpoint: str) -> None:
    """Refuse a method that an OAuth endpoint does not have."""
    if endpoint not in {"token", "introspect", "revoke"}:
        raise OAuthError("invalid_request", "there is no such endpoint.", status=404)
    raise OAuthError("invalid_request", "send the form by POST.", status=405)
