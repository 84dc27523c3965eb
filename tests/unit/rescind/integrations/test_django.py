"""Middleware and decorator of Django admit and refuse in synchronous and asynchronous projects."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.test import AsyncClient, Client
from django.test.utils import override_settings
from tests.support import django_project

from rescind.errors import ScopeError
from rescind.integrations import django as integration
from rescind.integrations.django import requires
from rescind.testing import FakeVerifier

MIDDLEWARE = ["rescind.integrations.django.middleware"]


@pytest.fixture
def verifier() -> Iterator[FakeVerifier]:
    verifier = FakeVerifier(audience="search")
    with override_settings(RESCIND={"VERIFIER": verifier}, ROOT_URLCONF=django_project.__name__):
        yield verifier
    integration._find_attachment.cache_clear()


@pytest.fixture(params=["sync", "async"])
def get(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Send a request to a synchronous or an asynchronous project."""

    def get_sync(path: str, token: str = "", **headers: str) -> HttpResponseBase:
        return cast("HttpResponseBase", Client().get(path, headers=_headers(token, headers)))

    def get_async(path: str, token: str = "", **headers: str) -> HttpResponseBase:
        answer: HttpResponseBase = asyncio.run(
            cast("Any", AsyncClient().get(path, headers=_headers(token, headers)))
        )
        return answer

    return get_sync if request.param == "sync" else get_async


def _headers(token: str, headers: dict[str, str]) -> dict[str, str]:
    return headers | ({"Authorization": f"Bearer {token}"} if token else {})


@pytest.mark.parametrize(
    "path", ["/search", "/search-async", "/search-class", "/search-class-async"]
)
def test_the_decorator_admits_and_refuses_in_both_kinds_of_views(
    get: Callable[..., Any], verifier: FakeVerifier, path: str
) -> None:
    agent = verifier.issue(subject="agent:a", scopes={"search:read"})
    assert get(path, agent.token).content == b"agent:a"
    assert get("/plain").status_code == 200
    missing = get(path)
    assert (missing.status_code, missing["www-authenticate"]) == (401, 'Bearer realm="rescind"')
    assert missing["content-type"] == "application/problem+json"
    poor = get(path, verifier.issue().token)
    assert (poor.status_code, poor["x-rescind-reason"]) == (403, "insufficient_scope")
    with verifier.without_lease():
        stale = get(path, agent.token)
    assert (stale.status_code, stale["retry-after"]) == (503, "1")
    assert verifier._supervisor._registered == set()


def test_the_middleware_guards_every_path_but_those_that_are_exempt(
    get: Callable[..., Any], verifier: FakeVerifier
) -> None:
    configured = {"VERIFIER": verifier, "REQUIRE": ["a"], "EXEMPT": ["/plain"]}
    with override_settings(MIDDLEWARE=MIDDLEWARE, RESCIND=configured):
        assert get("/plain").status_code == 200
        assert get("/nowhere").status_code == 401
        assert get("/search", verifier.issue(scopes={"search:read"}).token).status_code == 403
        both = verifier.issue(subject="agent:a", scopes={"a", "search:read"})
        assert get("/search", both.token).content == b"agent:a"
        assert get("/nowhere", both.token).status_code == 404


@pytest.mark.parametrize(("preflight", "status"), [(True, 200), (False, 401)])
def test_a_preflight_passes_only_where_that_is_set(
    verifier: FakeVerifier, preflight: bool, status: int
) -> None:
    configured = {"VERIFIER": verifier, "PREFLIGHT": preflight}
    headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
    with override_settings(MIDDLEWARE=MIDDLEWARE, RESCIND=configured):
        assert Client().options("/plain", headers=headers).status_code == status


@pytest.mark.parametrize("path", ["/slow", "/slow-async"])
def test_a_response_that_has_not_begun_is_replaced_once_the_token_is_denied(
    get: Callable[..., Any], verifier: FakeVerifier, path: str
) -> None:
    if path == "/slow-async" and get.__name__ == "get_sync":
        pytest.skip("a synchronous project cannot cancel a view")
    with override_settings(MIDDLEWARE=MIDDLEWARE):
        answer = get(path, verifier.issue(subject="agent:a").token)
    assert (answer.status_code, answer["x-rescind-reason"]) == (401, "revoked")
    assert verifier._supervisor._registered == set()


async def test_a_caller_in_an_asynchronous_project_does_not_wait_for_a_synchronous_view(
    verifier: FakeVerifier,
) -> None:
    token = verifier.issue(subject="agent:a").token
    django_project.may_return.clear()
    with override_settings(MIDDLEWARE=MIDDLEWARE):
        answer = await AsyncClient().get("/waiting", headers=_headers(token, {}))
    django_project.may_return.set()
    assert (answer.status_code, answer["x-rescind-reason"]) == (401, "revoked")


def test_a_class_of_asynchronous_methods_is_cancelled(
    get: Callable[..., Any], verifier: FakeVerifier
) -> None:
    agent = verifier.issue(subject="agent:a", scopes={"search:read"})
    answer = get("/search-class-async?slow=1", agent.token)
    assert (answer.status_code, answer["x-rescind-reason"]) == (401, "revoked")
    assert verifier._supervisor._registered == set()


def test_a_stream_of_a_synchronous_project_is_broken_off(verifier: FakeVerifier) -> None:
    with override_settings(MIDDLEWARE=MIDDLEWARE):
        answer = Client().get(
            "/stream", headers=_headers(verifier.issue(subject="agent:a").token, {})
        )
        assert isinstance(answer, StreamingHttpResponse)
        parts = iter(answer)
        assert next(parts) == b"1"
        with pytest.raises(ConnectionResetError):
            next(parts)
        answer.close()
    assert verifier._supervisor._registered == set()


async def test_a_stream_of_an_asynchronous_project_is_broken_off_without_an_error(
    verifier: FakeVerifier,
) -> None:
    token = verifier.issue(subject="agent:a").token
    with override_settings(MIDDLEWARE=MIDDLEWARE):
        answer = await AsyncClient().get("/stream-async", headers=_headers(token, {}))
        parts = cast("AsyncIterator[bytes]", aiter(cast("Any", answer)))
        assert await anext(parts) == b"1"
        with pytest.raises(asyncio.CancelledError):
            await anext(parts)
    assert verifier._supervisor._registered == set()


def test_an_error_of_a_view_passes_and_ends_the_hold(
    get: Callable[..., Any], verifier: FakeVerifier
) -> None:
    with override_settings(MIDDLEWARE=MIDDLEWARE), pytest.raises(LookupError):
        get("/failing", verifier.issue().token)
    assert verifier._supervisor._registered == set()


@pytest.mark.parametrize("configured", [{"REQUIRES": ["a"]}, {"Audience": "search"}])
def test_an_unknown_key_of_the_setting_is_an_error(configured: dict[str, Any]) -> None:
    with (
        override_settings(MIDDLEWARE=MIDDLEWARE, RESCIND=configured),
        pytest.raises(ImproperlyConfigured, match="RESCIND has unknown keys"),
    ):
        Client().get("/plain")


def test_a_single_exempt_path_is_an_error(verifier: FakeVerifier) -> None:
    configured = {"VERIFIER": verifier, "EXEMPT": "/plain"}
    with (
        override_settings(MIDDLEWARE=MIDDLEWARE, RESCIND=configured),
        pytest.raises(ValueError, match="exempt"),
    ):
        Client().get("/")


def test_an_invalid_scope_is_an_error_at_once(verifier: FakeVerifier) -> None:
    with pytest.raises(ScopeError):
        requires("a scope")
    configured = {"VERIFIER": verifier, "REQUIRE": "search:read"}
    with (
        override_settings(MIDDLEWARE=MIDDLEWARE, RESCIND=configured),
        pytest.raises(ScopeError),
    ):
        Client().get("/plain")
