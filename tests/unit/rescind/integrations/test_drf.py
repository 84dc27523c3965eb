"""Authentication and permissions of Django REST framework admit and refuse in its own form."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.http import StreamingHttpResponse
from django.test.utils import override_settings
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from rescind import Record
from rescind.errors import ScopeError
from rescind.integrations import django as integration
from rescind.integrations.drf import HoldMixin, requires
from rescind.testing import FakeVerifier, Issued


class Search(APIView):
    permission_classes = (requires("search:read"),)

    def get(self, request: Request) -> Response:
        assert isinstance(request.auth, Record)
        return Response({"subject": request.auth.subject, "user": str(request.user)})


class Mail(Search):
    permission_classes = (requires(audience="mail"),)


class Anything(Search):
    permission_classes = (IsAuthenticated,)


class Open(APIView):
    permission_classes = (AllowAny,)

    def get(self, request: Request) -> Response:
        return Response({"known": request.auth is not None})


class Stream(HoldMixin, APIView):
    permission_classes = (requires("search:read"),)

    def get(self, request: Request) -> Any:
        return StreamingHttpResponse(iter(["1", "2"]))


@pytest.fixture
def verifier() -> Iterator[FakeVerifier]:
    verifier = FakeVerifier(audience="search")
    with override_settings(RESCIND={"VERIFIER": verifier}):
        yield verifier
    integration._find_attachment.cache_clear()


def get(view: type[APIView], agent: Issued | None = None, **headers: str) -> Any:
    if agent is not None:
        headers = dict(agent.headers)
    answer = view.as_view()(APIRequestFactory().get("/", headers=headers))
    return answer.render() if hasattr(answer, "render") else answer


@pytest.mark.parametrize("view", [Search, Anything])
def test_a_good_token_gives_the_record_and_a_user(
    verifier: FakeVerifier, view: type[APIView]
) -> None:
    answer = get(view, verifier.issue(subject="agent:a", scopes={"search:*"}))
    assert (answer.status_code, answer.data) == (200, {"subject": "agent:a", "user": "agent:a"})
    assert "x-rescind-reason" not in answer


def test_a_call_without_a_token_is_a_401_in_the_form_of_the_framework(
    verifier: FakeVerifier,
) -> None:
    for view in (Search, Anything):
        answer = get(view, Authorization="Basic abc")
        assert (answer.status_code, answer["x-rescind-reason"]) == (401, "missing")
        assert answer["www-authenticate"] == 'Bearer realm="rescind"'
        assert answer.data["detail"].code == "not_authenticated"


def test_a_view_without_permissions_is_open_but_not_to_a_bad_token(
    verifier: FakeVerifier,
) -> None:
    open_to_all = get(Open)
    assert (open_to_all.status_code, open_to_all.data) == (200, {"known": False})
    assert "x-rescind-reason" not in open_to_all
    assert get(Open, verifier.issue()).data == {"known": True}
    assert get(Open, Authorization="Bearer abc").status_code == 401


def test_a_denied_token_has_a_detail_and_the_reason(verifier: FakeVerifier) -> None:
    agent = verifier.issue(subject="agent:a", scopes={"search:read"})
    verifier.revoke("subject:agent:a")
    answer = get(Search, agent)
    assert (answer.status_code, answer["x-rescind-reason"]) == (401, "revoked")
    assert answer["www-authenticate"] == 'Bearer error="invalid_token"'
    assert answer["cache-control"] == "no-store"
    assert answer.data == {"detail": "The token was revoked.", "reason": "revoked"}


def test_a_permission_judges_scopes_and_the_audience(verifier: FakeVerifier) -> None:
    poor = get(Search, verifier.issue())
    assert (poor.status_code, poor["x-rescind-reason"]) == (403, "insufficient_scope")
    assert poor["www-authenticate"] == 'Bearer error="insufficient_scope", scope="search:read"'
    mail = verifier.issue(audience={"mail"})
    with override_settings(RESCIND={"VERIFIER": verifier, "AUDIENCE": "mail"}):
        assert get(Mail, mail).status_code == 200
    assert get(Mail, mail)["x-rescind-reason"] == "wrong_audience"


def test_without_a_lease_the_answer_is_a_503(verifier: FakeVerifier) -> None:
    agent = verifier.issue(scopes={"search:read"})
    with verifier.without_lease():
        answer = get(Search, agent)
    assert (answer.status_code, answer["retry-after"]) == (503, "1")
    assert answer.data["reason"] == "no_lease"
    assert "www-authenticate" not in answer


@pytest.mark.parametrize("removed", [True, False])
def test_a_stream_is_broken_off_for_the_token_and_for_the_scopes_of_its_permission(
    verifier: FakeVerifier, removed: bool
) -> None:
    answer = get(Stream, verifier.issue(subject="agent:a", scopes={"search:read"}))
    parts = iter(answer)
    assert next(parts) == b"1"
    if removed:
        verifier.narrow("subject:agent:a", remove={"search:read"})
    else:
        verifier.revoke("subject:agent:a")
    with pytest.raises(ConnectionResetError):
        next(parts)
    answer.close()
    assert verifier._supervisor._registered == set()


def test_an_invalid_scope_is_an_error_at_once() -> None:
    with pytest.raises(ScopeError):
        requires("a scope")
