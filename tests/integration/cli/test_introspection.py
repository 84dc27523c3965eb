"""Token introspection at a sidecar of a real system, asked by a client that we did not write."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from authlib.integrations.requests_client import (  # type: ignore[import-untyped] # no types
    OAuth2Session,
)
from tests.integration.cli.conftest import Rescind, issue

CALLER = "service:gateway"


@pytest.fixture(params=["client_secret_basic", "client_secret_post"])
def client(request: pytest.FixtureRequest, rescind: Rescind) -> Iterator[tuple[OAuth2Session, str]]:
    """Make an OAuth client whose secret is a token that may introspect, and name the token."""
    may = ("--scope", "rescind:introspect", "--audience", "rescind")
    made = issue(rescind, CALLER, *may, kind="service")
    with OAuth2Session(
        CALLER, made["token"], token_endpoint_auth_method=request.param, trust_env=False
    ) as session:
        yield session, made["token_id"]


def test_a_client_sees_a_revocation_and_can_be_revoked_itself(
    client: tuple[OAuth2Session, str], rescind: Rescind, ready: Mapping[str, Any]
) -> None:
    session, caller_id = client
    url = f"{ready['sidecars'][0]['http']}/introspect"
    issued = issue(rescind, "agent:introspected", "--scope", "search:read")

    def introspected() -> Any:
        return session.introspect_token(url, token=issued["token"], token_type_hint="access_token")

    found = introspected().json()
    assert (found["active"], found["sub"]) == (True, "agent:introspected")
    assert (found["scope"], found["jti"]) == ("search:read", issued["token_id"])
    assert "exp" not in found
    assert rescind("revoke", f"token:{issued['token_id']}", "--wait").returncode == 0
    assert introspected().json() == {"active": False}
    assert rescind("revoke", f"token:{caller_id}", "--wait").returncode == 0
    refused = introspected()
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
