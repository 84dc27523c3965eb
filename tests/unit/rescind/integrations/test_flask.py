"""The decorator for Flask passes the record to the view, or refuses as every integration does."""

from collections.abc import Iterator
from io import BytesIO

import pytest
from flask import Flask, Response, g, send_file
from flask.testing import FlaskClient

from rescind import UnreachableError, Verifier
from rescind.errors import ScopeError
from rescind.integrations.flask import init_app, requires
from rescind.testing import FakeVerifier


@pytest.fixture
def verifier() -> FakeVerifier:
    return FakeVerifier(audience="search")


@pytest.fixture
def app(verifier: FakeVerifier) -> Flask:
    app = Flask(__name__)
    init_app(app, verifier)

    @app.get("/")
    @requires("search:read")
    def search() -> str:
        subject: str = g.rescind.subject
        return subject

    @app.get("/mail")
    @requires(audience="mail")
    def mail() -> tuple[dict[str, str], int]:
        return {"subject": g.rescind.subject}, 202

    @app.get("/slow")
    @requires()
    def slow() -> str:
        verifier.revoke("subject:agent:a")
        return str(g.rescind_hold.revoked.is_set())

    @app.get("/stream")
    @requires()
    def stream() -> Response:
        return Response(parts())

    def parts() -> Iterator[str]:
        yield "1"
        verifier.revoke("subject:agent:a")
        yield "2"

    @app.get("/file")
    @requires()
    def file() -> Response:
        app.config["FILE"] = BytesIO(b"content")
        return send_file(app.config["FILE"], mimetype="text/plain")

    @app.get("/fails")
    @requires()
    def fails() -> str:
        raise LookupError

    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def test_a_good_token_reaches_the_view_with_its_record(
    client: FlaskClient, verifier: FakeVerifier
) -> None:
    agent = verifier.issue(subject="agent:a", scopes={"search:*"})
    assert client.get("/", headers=agent.headers).text == "agent:a"
    mail = client.get("/mail", headers=verifier.issue(audience={"mail"}).headers)
    assert (mail.status_code, mail.json) == (202, {"subject": "agent:test"})


def test_a_refusal_has_the_status_and_the_headers_of_every_integration(
    client: FlaskClient, verifier: FakeVerifier
) -> None:
    missing = client.get("/")
    assert (missing.status_code, missing.headers["www-authenticate"]) == (
        401,
        'Bearer realm="rescind"',
    )
    assert missing.content_type == "application/problem+json"
    poor = client.get("/", headers=verifier.issue().headers)
    assert (poor.status_code, poor.headers["x-rescind-reason"]) == (403, "insufficient_scope")
    with verifier.without_lease():
        stale = client.get("/", headers=verifier.issue(scopes={"search:read"}).headers)
    assert (stale.status_code, stale.headers["retry-after"]) == (503, "1")


def test_options_are_answered_without_a_token(client: FlaskClient) -> None:
    assert client.options("/").status_code == 200


def test_a_view_that_ends_after_its_token_is_replaced_by_the_refusal(
    client: FlaskClient, verifier: FakeVerifier
) -> None:
    agent = verifier.issue(subject="agent:a")
    answer = client.get("/slow", headers=agent.headers)
    assert (answer.status_code, answer.headers["x-rescind-reason"]) == (401, "revoked")
    assert verifier._supervisor._registered == set()


def test_a_stream_is_broken_off_and_its_hold_ends(
    client: FlaskClient, verifier: FakeVerifier
) -> None:
    agent = verifier.issue(subject="agent:a")
    answer = client.get("/stream", headers=agent.headers, buffered=False)
    received = answer.response
    assert next(iter(received)) == b"1"
    with pytest.raises(ConnectionResetError):
        next(iter(received))
    answer.close()
    assert verifier._supervisor._registered == set()


def test_a_stream_that_a_handler_replaces_leaves_no_hold(
    app: Flask, client: FlaskClient, verifier: FakeVerifier
) -> None:
    app.after_request(lambda _: Response("replaced"))
    assert client.get("/stream", headers=verifier.issue().headers).text == "replaced"
    assert verifier._supervisor._registered == set()


def test_a_file_is_sent_whole_and_closed_and_its_hold_ends(
    app: Flask, client: FlaskClient, verifier: FakeVerifier
) -> None:
    with client.get("/file", headers=verifier.issue().headers) as answer:
        assert answer.data == b"content"
    assert app.config["FILE"].closed
    assert verifier._supervisor._registered == set()


def test_an_error_of_the_view_ends_the_hold(client: FlaskClient, verifier: FakeVerifier) -> None:
    assert client.get("/fails", headers=verifier.issue().headers).status_code == 500
    assert verifier._supervisor._registered == set()


def test_the_verifier_is_attached_at_the_first_call_and_again_until_that_succeeds(
    app: Flask, verifier: FakeVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = [UnreachableError("not yet"), verifier]

    def attach() -> FakeVerifier:
        attempt = attempts.pop(0)
        if isinstance(attempt, Exception):
            raise attempt
        assert isinstance(attempt, FakeVerifier)
        return attempt

    del app.extensions["rescind"]
    monkeypatch.setattr(Verifier, "attach", attach)
    agent = verifier.issue(scopes={"search:read"})
    client = app.test_client()
    statuses = [client.get("/", headers=agent.headers).status_code for _ in range(3)]
    assert (statuses, attempts) == ([503, 200, 200], [])


def test_an_invalid_scope_is_an_error_at_once() -> None:
    with pytest.raises(ScopeError):
        requires("a scope")
