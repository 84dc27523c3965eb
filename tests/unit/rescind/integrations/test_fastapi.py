"""The dependency of FastAPI gives the record, or refuses as every integration does."""

from collections.abc import Iterator
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, Security, WebSocket
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from rescind import Reason, Record, UnreachableError, Verifier
from rescind.errors import ScopeError
from rescind.integrations.fastapi import Rescind, answer_with_problems
from rescind.testing import FakeVerifier
from rescind.wire import bearer


def make() -> FastAPI:
    app = FastAPI()

    @app.get("/search")
    async def search(
        record: Annotated[Record, Depends(Rescind(require={"search:read"}))],
    ) -> dict[str, str]:
        return {"subject": record.subject}

    @app.get("/scoped")
    async def scoped(
        record: Annotated[Record, Security(Rescind(require={"a"}), scopes=["b"])],
    ) -> dict[str, str]:
        return {"subject": record.subject}

    @app.get("/mail")
    async def mail(record: Annotated[Record, Depends(Rescind(audience="mail"))]) -> dict[str, str]:
        return {"subject": record.subject}

    @app.get("/open")
    def open_to_all() -> dict[str, bool]:
        return {"open": True}

    @app.websocket("/ws")
    async def ws(socket: WebSocket, record: Annotated[Record, Depends(Rescind())]) -> None:
        await socket.accept()
        await socket.send_text(record.subject)
        await socket.close()

    guarded = APIRouter(dependencies=[Depends(Rescind(require={"admin"}))])

    @guarded.get("/guarded")
    def inside() -> dict[str, bool]:
        return {"inside": True}

    app.include_router(guarded)
    return app


@pytest.fixture
def verifier() -> FakeVerifier:
    return FakeVerifier(audience="search")


@pytest.fixture
def client(verifier: FakeVerifier) -> Iterator[TestClient]:
    app = make()
    app.state.rescind = verifier
    with TestClient(app) as client:
        yield client


def test_a_good_token_reaches_the_route_with_its_record(
    client: TestClient, verifier: FakeVerifier
) -> None:
    agent = verifier.issue(subject="agent:a", scopes={"search:read"})
    answer = client.get("/search", headers=agent.headers)
    assert (answer.status_code, answer.json()) == (200, {"subject": "agent:a"})


def test_a_refusal_has_the_status_and_the_headers_of_every_integration(
    client: TestClient, verifier: FakeVerifier
) -> None:
    poor, gone = verifier.issue(), verifier.issue(scopes={"search:read"})
    verifier.revoke(f"token:{gone.token_id}")
    for headers, expected in (
        ({}, bearer.unauthenticated()),
        ({"Authorization": "Basic dTpw"}, bearer.unauthenticated()),
        ({"Authorization": "Bearer nonsense"}, bearer.refuse(Reason.MALFORMED)),
        (gone.headers, bearer.refuse(Reason.REVOKED)),
        (poor.headers, bearer.refuse(Reason.INSUFFICIENT_SCOPE, require={"search:read"})),
    ):
        answer = client.get("/search", headers=headers)
        assert answer.status_code == expected.status
        for name, text in expected.headers:
            if name not in {"content-type", "content-length"}:
                assert answer.headers[name] == text
        assert answer.json()["detail"]["reason"] == dict(expected.headers)["x-rescind-reason"]


def test_a_challenge_names_the_url_of_the_resource_metadata(verifier: FakeVerifier) -> None:
    app, url = FastAPI(), "https://a.example/.well-known/oauth-protected-resource"

    @app.get("/", dependencies=[Depends(Rescind(verifier, resource_metadata=url))])
    def root() -> None: ...

    challenge = TestClient(app).get("/").headers["www-authenticate"]
    assert challenge == f'Bearer realm="rescind", resource_metadata="{url}"'
    with pytest.raises(ValueError, match="resource_metadata"):
        Rescind(resource_metadata="/relative")
    with pytest.raises(ScopeError):
        Rescind(require="search:read")


def test_without_a_lease_it_asks_to_retry(client: TestClient, verifier: FakeVerifier) -> None:
    agent = verifier.issue(scopes={"search:read"})
    with verifier.without_lease():
        answer = client.get("/search", headers=agent.headers)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert client.get("/search", headers=agent.headers).status_code == 200


def test_scopes_of_the_dependency_and_of_the_route_add_up(
    client: TestClient, verifier: FakeVerifier
) -> None:
    for scopes, status in ((["a"], 403), (["b"], 403), (["a", "b"], 200)):
        agent = verifier.issue(scopes=scopes)
        assert client.get("/scoped", headers=agent.headers).status_code == status


def test_a_router_can_guard_all_of_its_routes(client: TestClient, verifier: FakeVerifier) -> None:
    assert client.get("/guarded").status_code == 401
    assert client.get("/guarded", headers=verifier.issue().headers).status_code == 403
    admin = verifier.issue(scopes={"admin"})
    assert client.get("/guarded", headers=admin.headers).status_code == 200
    assert client.get("/open").status_code == 200


def test_a_token_for_another_service_is_refused_where_it_is_not_named(
    client: TestClient, verifier: FakeVerifier
) -> None:
    agent = verifier.issue(audience={"mail"}, scopes={"search:read"})
    assert client.get("/mail", headers=agent.headers).status_code == 200
    answer = client.get("/search", headers=agent.headers)
    assert (answer.status_code, answer.headers["x-rescind-reason"]) == (401, "wrong_audience")


def test_a_websocket_is_refused_with_a_policy_violation(
    client: TestClient, verifier: FakeVerifier
) -> None:
    agent = verifier.issue(subject="agent:a")
    with client.websocket_connect("/ws", headers=agent.headers) as socket:
        assert socket.receive_text() == "agent:a"
    with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect("/ws"):
        pass
    assert (refused.value.code, refused.value.reason) == (1008, "missing")


def test_the_problem_can_be_the_whole_body(verifier: FakeVerifier) -> None:
    app = make()
    app.state.rescind = verifier
    answer_with_problems(app)
    with TestClient(app) as client:
        answer = client.get("/search", headers={"Authorization": "Bearer nonsense"})
    expected = bearer.refuse(Reason.MALFORMED)
    assert answer.content == expected.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers.get_list("content-length") == [str(len(expected.body))]


def test_the_openapi_document_names_the_scheme_and_the_scopes(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["rescind"]["scheme"] == "bearer"
    assert document["paths"]["/search"]["get"]["security"] == [{"rescind": []}]
    assert document["paths"]["/scoped"]["get"]["security"] == [{"rescind": ["b"]}]
    assert "security" not in document["paths"]["/open"]["get"]
    assert "parameters" not in document["paths"]["/search"]["get"]


def test_routes_share_one_verifier_which_is_attached_at_the_first_call_and_retried(
    verifier: FakeVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[FakeVerifier | UnreachableError] = [UnreachableError("nobody"), verifier]

    def attach() -> FakeVerifier:
        match attempts.pop(0):
            case UnreachableError() as error:
                raise error
            case attached:
                return attached

    monkeypatch.setattr(Verifier, "attach", attach)
    agent = verifier.issue(scopes={"search:read", "admin"})
    with TestClient(make()) as client:
        assert client.get("/search", headers=agent.headers).status_code == 503
        assert client.get("/search", headers=agent.headers).status_code == 200
        assert client.get("/guarded", headers=agent.headers).status_code == 200
    assert not attempts
