"""The session's cookie: who is logged in, what the browser is told, and what is refused."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from rescind.core.secret import Secret
from rescind.core.tokens import Kind
from rescind.integrations.sessions import COOKIE, Session, SessionMiddleware
from rescind.testing import FakeVerifier

Handler = Callable[[Session], None]


async def call(
    middleware: SessionMiddleware,
    *cookies: str,
    method: str = "GET",
    kind: str = "http",
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> tuple[dict[str, Any], dict[str, str]]:
    """Send one request; give the first message of the answer and its headers."""
    sent: list[dict[str, Any]] = []
    scope = {
        "type": kind,
        "path": "/",
        "method": method,
        "headers": [*((b"cookie", each.encode()) for each in cookies), *headers],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    await middleware(scope, receive, send)
    found = {name.decode(): value.decode() for name, value in sent[0].get("headers", ())}
    return sent[0], found


def serving(verifier: FakeVerifier | None, handle: Handler, **options: Any) -> SessionMiddleware:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        handle(scope["state"]["session"])
        assert scope["state"]["rescind"] is scope["state"]["session"].record
        start = "websocket.accept" if scope["type"] == "websocket" else "http.response.start"
        await send({"type": start, "status": 200, "headers": []})

    return SessionMiddleware(app, verifier, **options)


def nothing(session: Session) -> None: ...


@pytest.fixture
def verifier() -> FakeVerifier:
    return FakeVerifier(audience="web")


def session_token(verifier: FakeVerifier, subject: str = "user:42") -> str:
    return verifier.issue(subject=subject, kind=Kind.SESSION).token


async def test_a_good_cookie_says_who_is_logged_in_and_sets_nothing(verifier: FakeVerifier):
    token, seen = session_token(verifier), list[Session]()
    _, headers = await call(serving(verifier, seen.append), f"a=b; {COOKIE}={token}")
    assert seen[0].record is not None
    assert seen[0].record.subject == "user:42"
    assert seen[0].token is not None
    assert seen[0].token.reveal() == token
    assert "set-cookie" not in headers


async def test_without_a_cookie_nobody_is_logged_in(verifier: FakeVerifier):
    seen = list[Session]()
    _, headers = await call(serving(verifier, seen.append))
    assert (seen[0].record, seen[0].token) == (None, None)
    assert "set-cookie" not in headers


async def test_beginning_keeps_the_token_where_no_script_can_read_it(verifier: FakeVerifier):
    def log_in(session: Session) -> None:
        session.begin(Secret("rsc_ses_x"), max_age_s=60)

    _, headers = await call(serving(verifier, log_in))
    assert headers["set-cookie"] == (
        f"{COOKIE}=rsc_ses_x; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=60"
    )
    assert headers["cache-control"] == "no-store"


async def test_a_revoked_session_is_nobody_and_its_cookie_is_cleared(verifier: FakeVerifier):
    token, seen = session_token(verifier), list[Session]()
    verifier.revoke("subject:user:42", "kind:session")
    _, headers = await call(serving(verifier, seen.append), f"{COOKIE}={token}")
    assert (seen[0].record, seen[0].token) == (None, None)
    assert headers["set-cookie"].startswith(f"{COOKIE}=; ")
    assert headers["set-cookie"].endswith("; Max-Age=0")


async def test_logging_in_anew_over_a_dead_session_keeps_the_new_token(verifier: FakeVerifier):
    dead = session_token(verifier)
    verifier.revoke("subject:user:42")

    def log_in(session: Session) -> None:
        session.begin(Secret("rsc_ses_new"))

    _, headers = await call(serving(verifier, log_in), f"{COOKIE}={dead}")
    assert headers["set-cookie"].startswith(f"{COOKIE}=rsc_ses_new; ")
    assert "Max-Age" not in headers["set-cookie"]


async def test_a_token_of_another_kind_is_no_session(verifier: FakeVerifier):
    agent, seen = verifier.issue(subject="agent:a").token, list[Session]()
    await call(serving(verifier, seen.append), f"{COOKIE}={agent}")
    assert seen[0].record is None


async def test_two_cookies_of_one_name_are_believed_by_nobody(verifier: FakeVerifier):
    one, other, seen = session_token(verifier), session_token(verifier), list[Session]()
    await call(serving(verifier, seen.append), f"{COOKIE}={one}", f"{COOKIE}={other}")
    assert seen[0].record is None


async def test_where_nobody_can_tell_nobody_is_let_in_and_the_cookie_stays(verifier: FakeVerifier):
    token, seen = session_token(verifier), list[Session]()
    with verifier.without_lease():
        answer, headers = await call(serving(verifier, seen.append), f"{COOKIE}={token}")
    assert (answer["status"], headers["retry-after"], seen) == (503, "1", [])
    assert "set-cookie" not in headers


@pytest.mark.parametrize(
    ("method", "kind", "site", "nobody"),
    [
        ("POST", "http", b"cross-site", True),
        ("DELETE", "http", b"cross-site", True),
        ("GET", "websocket", b"cross-site", True),
        ("GET", "http", b"cross-site", False),
        ("POST", "http", b"same-origin", False),
        ("POST", "http", b"none", False),
    ],
)
async def test_for_what_another_site_sends_nobody_is_logged_in_unless_it_is_safe(
    verifier: FakeVerifier, method: str, kind: str, site: bytes, *, nobody: bool
):
    token, seen = session_token(verifier), list[Session]()
    _, headers = await call(
        serving(verifier, seen.append),
        f"{COOKIE}={token}",
        method=method,
        kind=kind,
        headers=((b"sec-fetch-site", site),),
    )
    assert (seen[0].record is None) is nobody
    assert "set-cookie" not in headers


async def test_an_event_stream_ends_with_its_session(verifier: FakeVerifier):
    token = session_token(verifier)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        verifier.revoke("subject:user:42")
        await asyncio.Event().wait()

    accept = ((b"accept", b"text/event-stream"),)
    answer, _ = await call(SessionMiddleware(app, verifier), f"{COOKIE}={token}", headers=accept)
    assert answer["status"] == 401


async def test_the_request_that_logs_out_is_answered(verifier: FakeVerifier):
    def log_out(session: Session) -> None:
        verifier.revoke("subject:user:42")
        session.end()

    answer, headers = await call(serving(verifier, log_out), f"{COOKIE}={session_token(verifier)}")
    assert (answer["status"], headers["set-cookie"].startswith(f"{COOKIE}=; ")) == (200, True)


async def test_a_websocket_that_is_accepted_carries_the_cookie_too(verifier: FakeVerifier):
    def log_in(session: Session) -> None:
        session.begin(Secret("rsc_ses_x"))

    answer, headers = await call(serving(verifier, log_in), kind="websocket")
    assert (answer["type"], "set-cookie" in headers) == ("websocket.accept", True)


def test_a_host_cookie_without_tls_is_refused_at_once():
    with pytest.raises(ValueError, match="name another cookie"):
        serving(None, nothing, secure=False)
    serving(None, nothing, secure=False, cookie="session")
