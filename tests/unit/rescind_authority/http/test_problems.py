"""Errors on the wire: stable types, and nothing that a stranger should not read."""

import json
from typing import Any

import httpx2
import pytest

from rescind.errors import RescindError
from rescind_authority import errors
from rescind_authority.http import problems
from rescind_authority.http.app import application
from rescind_authority.http.dependencies import Health, UseCases
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.usecases.access.authoriser import Authoriser
from rescind_authority.usecases.sidecar_api import SidecarApi


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        (errors.InvalidRequestError(errors.FieldError("f", "d")), 422, "invalid-request"),
        (errors.PreviewNeededError(9, exact=True, above=5), 409, "preview-needed"),
        (errors.KeyReusedError(), 422, "idempotency-key-reused"),
        (errors.UnauthenticatedError("no"), 401, "unauthenticated"),
        (errors.LostError("rev_1"), 409, "lost"),
        (errors.ForbiddenError("rescind:issue", "issuing"), 403, "forbidden"),
        (errors.NotFoundError("token", "tok_x"), 404, "not-found"),
        (errors.OverloadedError("revocations"), 503, "overloaded"),
        (errors.StoreUnavailableError("gone"), 503, "store-unavailable"),
        (errors.StoreContendedError("deadlock"), 503, "store-unavailable"),
        (errors.NotMigratedError(), 503, "not-migrated"),
        (errors.CommitUnknownError(), 503, "outcome-unknown"),
        (errors.StoreRefusedError("a value"), 500, "internal"),
        (RescindError("anything else"), 500, "internal"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_each_error_has_a_stable_type(error: RescindError, status: int, slug: str) -> None:
    answer = problems.response(error)
    problem = json.loads(bytes(answer.body))
    assert answer.media_type == "application/problem+json"
    assert (answer.status_code, problem["status"]) == (status, status)
    assert problem["type"] == f"urn:rescind:problem:{slug}"
    assert problem["title"]
    assert problem["detail"]
    assert ("retry-after" in answer.headers) == (status == 503)
    assert ("www-authenticate" in answer.headers) == (status in {401, 403})


def test_an_unknown_outcome_names_the_key_to_retry_with() -> None:
    answer = problems.response(errors.CommitUnknownError(), key="k-1")
    assert json.loads(bytes(answer.body))["idempotency_key"] == "k-1"
    other = problems.response(errors.OverloadedError("revocations"), key="k-1")
    assert "idempotency_key" not in json.loads(bytes(other.body))


async def test_a_defect_is_a_problem_without_a_traceback() -> None:
    async def broken() -> Health:
        raise RuntimeError("the password")

    nothing: Any = None
    use_cases = UseCases(
        authoriser=Authoriser(nothing, edge_keys=nothing, prefix="rsc"),
        budgets=nothing,
        issuer=nothing,
        delegator=nothing,
        revoker=nothing,
        lifter=nothing,
        membership=nothing,
        changer=nothing,
        clients=nothing,
        client_authenticator=nothing,
        client_tokens=nothing,
        presented_tokens=nothing,
        sessions=nothing,
        inspector=nothing,
        trees=nothing,
        enforcer=nothing,
        hit_counter=nothing,
        keys=nothing,
        term=nothing,
        sidecar_api=SidecarApi(
            granter=nothing,
            resolver=nothing,
            recent=nothing,
            enroller=nothing,
            instances=nothing,
            membership=nothing,
            keys=nothing,
            usage=nothing,
            acknowledgements=nothing,
            recovery=nothing,
        ),
        metrics=PrometheusMetrics(),
        refused=nothing,
        health=broken,
    )
    transport = httpx2.ASGITransport(application(use_cases), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:rescind:problem:internal"
    assert "password" not in answer.text
    assert "RuntimeError" not in answer.text
