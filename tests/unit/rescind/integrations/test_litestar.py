"""The plugin and the guard of Litestar admit and refuse as every integration does."""

from collections.abc import Iterator
from typing import Any

import pytest
from litestar import Litestar, Request, get
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.testing import TestClient

from rescind import Verifier
from rescind.errors import ScopeError
from rescind.integrations.litestar import RescindPlugin, requires
from rescind.testing import FakeVerifier


@get("/", sync_to_thread=False)
def search(request: "Request[Any, Any, State]") -> str:
    subject: str = request.state.rescind.subject
    return subject


@get("/admin", guards=[requires("admin:write")], sync_to_thread=False)
def administer() -> str:
    return "done"


@pytest.fixture
def verifier() -> FakeVerifier:
    return FakeVerifier(audience="search")


@pytest.fixture
def client(verifier: FakeVerifier) -> Iterator[TestClient[Litestar]]:
    app = Litestar(
        [search, administer],
        plugins=[RescindPlugin(verifier, require={"search:read"})],
        cors_config=CORSConfig(allow_origins=["https://a.example"]),
    )
    with TestClient(app) as client:
        yield client


def test_a_good_token_reaches_the_route_with_its_record(
    client: TestClient[Litestar], verifier: FakeVerifier
) -> None:
    agent = verifier.issue(subject="agent:a", scopes={"search:read"})
    answer = client.get("/", headers=agent.headers)
    assert (answer.status_code, answer.text) == (200, "agent:a")


def test_the_middleware_refuses_with_a_problem(
    client: TestClient[Litestar], verifier: FakeVerifier
) -> None:
    missing = client.get("/")
    assert (missing.status_code, missing.headers["x-rescind-reason"]) == (401, "missing")
    with verifier.without_lease():
        stale = client.get("/", headers=verifier.issue().headers)
    assert (stale.status_code, stale.headers["retry-after"]) == (503, "1")


def test_a_guard_refuses_in_the_form_of_the_framework(
    client: TestClient[Litestar], verifier: FakeVerifier
) -> None:
    poor = client.get("/admin", headers=verifier.issue(scopes={"search:read"}).headers)
    assert (poor.status_code, poor.headers["x-rescind-reason"]) == (403, "insufficient_scope")
    assert poor.headers["www-authenticate"] == (
        'Bearer error="insufficient_scope", scope="admin:write"'
    )
    assert poor.json()["extra"] == {"reason": "insufficient_scope"}
    rich = verifier.issue(scopes={"search:read", "admin:*"})
    assert client.get("/admin", headers=rich.headers).text == "done"


def test_a_guard_without_the_plugin_refuses_every_call(verifier: FakeVerifier) -> None:
    with TestClient(Litestar([administer])) as client:
        answer = client.get("/admin", headers=verifier.issue(scopes={"admin:*"}).headers)
    assert (answer.status_code, answer.headers["x-rescind-reason"]) == (401, "missing")


def test_a_preflight_is_answered_by_the_framework(client: TestClient[Litestar]) -> None:
    headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
    assert client.options("/", headers=headers).status_code == 204


def test_all_routes_share_one_verifier_that_is_closed_at_shutdown(
    verifier: FakeVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    attached = []

    def attach() -> FakeVerifier:
        attached.append(verifier)
        return verifier

    monkeypatch.setattr(Verifier, "attach", attach)
    agent = verifier.issue(scopes={"search:read", "admin:*"})
    with TestClient(Litestar([search, administer], plugins=[RescindPlugin()])) as client:
        for path in ("/", "/admin"):
            assert client.get(path, headers=agent.headers).status_code == 200
        assert not verifier.closed
    assert (len(attached), verifier.closed) == (1, True)


def test_an_invalid_scope_is_an_error_at_once() -> None:
    with pytest.raises(ScopeError):
        requires("a scope")
    with pytest.raises(ScopeError):
        RescindPlugin(require="search:read")
