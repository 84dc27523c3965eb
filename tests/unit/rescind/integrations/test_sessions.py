"""The session's cookie: who is logged in, what the browser is told, and what is refused."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.free_ports import free_port

from rescind.core.secret import Secret
from rescind.core.token_format import Kind
from rescind.errors import RescindError, UnreachableError
from rescind.integrations.sessions import COOKIE, Session, SessionMiddleware
from rescind.testing import FakeVerifier

Handler = Callable[[Session], Awaitable[None] | None]
Headers = tuple[tuple[bytes, bytes], ...]


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
        waiting = handle(scope["state"]["session"])
        if waiting is not None:
            await waiting
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


async def test_a_good_cookie_identifies_the_user_and_sets_no_cookie(verifier: FakeVerifier) -> None:
    token, seen = session_token(verifier), list[Session]()
    _, headers = await call(serving(verifier, seen.append), f"a=b; {COOKIE}={token}")
    assert seen[0].record is not None
    assert seen[0].record.subject == "user:42"
    assert seen[0].token is not None
    assert seen[0].token.reveal() == token
    assert "set-cookie" not in headers


async def test_without_a_cookie_the_session_is_anonymous(verifier: FakeVerifier) -> None:
    seen = list[Session]()
    _, headers = await call(serving(verifier, seen.append))
    assert (seen[0].record, seen[0].token) == (None, None)
    assert "set-cookie" not in headers


async def test_a_log_in_stores_the_token_in_a_cookie_that_scripts_cannot_read(
    verifier: FakeVerifier,
) -> None:
    def log_in(session: Session) -> None:
        session.begin(Secret("rsc_ses_x"), max_age_s=60)

    _, headers = await call(serving(verifier, log_in))
    assert headers["set-cookie"] == (
        f"{COOKIE}=rsc_ses_x; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=60"
    )
    assert headers["cache-control"] == "no-store"


async def test_a_revoked_session_is_anonymous_and_its_cookie_is_cleared(
    verifier: FakeVerifier,
) -> None:
    token, seen = session_token(verifier), list[Session]()
    verifier.revoke("subject:user:42", "kind:session")
    _, headers = await call(serving(verifier, seen.append), f"{COOKIE}={token}")
    assert (seen[0].record, seen[0].token) == (None, None)
    assert headers["set-cookie"].startswith(f"{COOKIE}=; ")
    assert headers["set-cookie"].endswith("; Max-Age=0")


async def test_logging_in_again_over_a_dead_session_stores_the_new_token(
    verifier: FakeVerifier,
) -> None:
    dead = session_token(verifier)
    verifier.revoke("subject:user:42")

    def log_in(session: Session) -> None:
        session.begin(Secret("rsc_ses_new"))

    _, headers = await call(serving(verifier, log_in), f"{COOKIE}={dead}")
    assert headers["set-cookie"].startswith(f"{COOKIE}=rsc_ses_new; ")
    assert "Max-Age" not in headers["set-cookie"]


async def test_a_log_in_over_a_live_session_is_refused_until_that_one_is_ended(
    verifier: FakeVerifier,
) -> None:
    seen = list[Session]()

    def log_in(session: Session) -> None:
        with pytest.raises(RescindError, match="log_out"):
            session.begin(Secret("rsc_ses_new"))
        assert session.cookie is None
        session.end()
        session.begin(Secret("rsc_ses_new"))
        seen.append(session)

    _, headers = await call(serving(verifier, log_in), f"{COOKIE}={session_token(verifier)}")
    assert seen
    assert headers["set-cookie"].startswith(f"{COOKIE}=rsc_ses_new; ")


async def test_a_rotated_session_keeps_its_new_secret(verifier: FakeVerifier) -> None:
    def rotate(session: Session) -> None:
        session.renew(Secret("rsc_ses_new"), max_age_s=60)

    _, headers = await call(serving(verifier, rotate), f"{COOKIE}={session_token(verifier)}")
    assert headers["set-cookie"].startswith(f"{COOKIE}=rsc_ses_new; ")
    assert headers["set-cookie"].endswith("; Max-Age=60")


async def test_without_a_session_renewing_and_logging_out_do_nothing(
    verifier: FakeVerifier,
) -> None:
    seen = list[Session]()
    _, headers = await call(serving(verifier, seen.append))
    with pytest.raises(RescindError, match="begin"):
        seen[0].renew(Secret("rsc_ses_new"))
    await seen[0].log_out()
    assert "set-cookie" not in headers


async def test_a_log_out_needs_an_authority_and_the_error_names_the_setting(
    verifier: FakeVerifier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RESCIND_DATA", str(tmp_path))
    monkeypatch.delenv("RESCIND_URL", raising=False)
    seen = list[Session]()
    await call(serving(verifier, seen.append), f"{COOKIE}={session_token(verifier)}")
    with pytest.raises(RescindError, match=r"RESCIND_URL.*SessionMiddleware\(authority=…\)"):
        await seen[0].log_out()
    assert seen[0].cookie is None


async def test_a_log_out_that_reaches_no_authority_leaves_the_cookie(
    verifier: FakeVerifier,
) -> None:
    seen = list[Session]()
    nowhere = f"http://127.0.0.1:{free_port()}"
    shop = serving(verifier, seen.append, authority=nowhere)
    await call(shop, f"{COOKIE}={session_token(verifier)}")
    with pytest.raises(UnreachableError):
        await seen[0].log_out()
    assert seen[0].cookie is None
    with pytest.raises(RescindError, match="log_out"):
        seen[0].begin(Secret("rsc_ses_new"))


async def test_a_token_of_another_kind_is_not_accepted_as_a_session(verifier: FakeVerifier) -> None:
    agent, seen = verifier.issue(subject="agent:a").token, list[Session]()
    await call(serving(verifier, seen.append), f"{COOKIE}={agent}")
    assert seen[0].record is None


async def test_two_cookies_of_one_name_are_both_ignored(verifier: FakeVerifier) -> None:
    one, other, seen = session_token(verifier), session_token(verifier), list[Session]()
    await call(serving(verifier, seen.append), f"{COOKIE}={one}", f"{COOKIE}={other}")
    assert seen[0].record is None


async def test_without_a_verdict_a_request_gets_503_and_the_cookie_stays(
    verifier: FakeVerifier,
) -> None:
    token, seen = session_token(verifier), list[Session]()
    with verifier.without_lease():
        answer, headers = await call(serving(verifier, seen.append), f"{COOKIE}={token}")
    assert (answer["status"], headers["retry-after"], seen) == (503, "1", [])
    assert "set-cookie" not in headers


def origin_headers(
    site: str | None = None, *origins: str, host: str = "app.example.com"
) -> Headers:
    """Make what a browser tells of the page that sends a request."""
    return (
        *(() if site is None else ((b"sec-fetch-site", site.encode()),)),
        *((b"origin", origin.encode()) for origin in origins),
        *(((b"host", host.encode()),) if host else ()),
    )


OWN = [
    origin_headers("same-origin"),
    origin_headers("none"),
    origin_headers("same-origin", "https://app.example.com", host="behind-a-proxy:8080"),
    origin_headers("same-origin", "null"),
    origin_headers(None, "https://app.example.com"),
    origin_headers(None, "https://APP.example.com:443"),
    origin_headers(None, "https://app.example.com", host="app.example.com:443"),
    origin_headers(None, "https://app.example.com:8443", host="app.example.com:8443"),
    origin_headers(None, "http://localhost:8000", host="localhost:8000"),
    origin_headers(None, "http://[::1]:8000", host="[::1]:8000"),
    origin_headers("same-site", "https://admin.example.com"),
    origin_headers("cross-site", "https://partner.example:8443"),
    origin_headers(None, "https://admin.example.com"),
    origin_headers(),
]
FOREIGN = [
    origin_headers("same-site"),
    origin_headers("cross-site"),
    origin_headers("same-site", "https://evil.example.com"),
    origin_headers("cross-site", "https://app.example.com.evil.example"),
    origin_headers("Same-Origin "),
    origin_headers(""),
    (*origin_headers("same-origin"), *origin_headers("cross-site")),
    origin_headers(None, "null"),
    origin_headers(None, ""),
    origin_headers(None, "https://evil.example.com"),
    origin_headers(None, "https://app.example.com.evil.example"),
    origin_headers(None, "https://app.example.com@evil.example"),
    origin_headers(None, "https://app.example.com/"),
    origin_headers(None, "https://app.example.com:8443"),
    origin_headers(None, "https://app.example.com:99999"),
    origin_headers(None, "http://app.example.com", host="app.example.com:80"),
    origin_headers(None, "ftp://app.example.com"),
    origin_headers(None, "http://admin.example.com"),
    origin_headers(None, "https://app.example.com", "https://app.example.com"),
    origin_headers("same-origin", "https://admin.example.com", "https://evil.example"),
    origin_headers(None, "https://app.example.com", host=""),
    (*origin_headers(None, "https://app.example.com"), (b"host", b"app.example.com")),
    origin_headers(None, "https://xn--e1afmkfd.example", host="пример.example"),
]
UNSAFE = [("POST", "http"), ("DELETE", "http"), ("get", "http"), ("GET", "websocket")]
TRUSTED = ("https://admin.example.com", "HTTPS://Partner.Example:8443")


@pytest.mark.parametrize(
    ("headers", "foreign"), [*((each, False) for each in OWN), *((each, True) for each in FOREIGN)]
)
async def test_an_unsafe_request_needs_the_same_origin_or_a_trusted_one(
    verifier: FakeVerifier, headers: Headers, *, foreign: bool
) -> None:
    token = session_token(verifier)
    for method, kind in UNSAFE:
        seen = list[Session]()
        answer, got = await call(
            serving(verifier, seen.append, trusted_origins=TRUSTED),
            f"{COOKIE}={token}",
            method=method,
            kind=kind,
            headers=headers,
        )
        assert ((seen[0].record is None), seen[0].foreign) == (foreign, foreign)
        assert "set-cookie" not in got
        assert answer.get("status", 200) == 200, "who needs no session is served all the same"


@pytest.mark.parametrize("headers", FOREIGN)
async def test_a_safe_request_is_served_to_any_origin(
    verifier: FakeVerifier, headers: Headers
) -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        seen = list[Session]()
        cookie = f"{COOKIE}={session_token(verifier)}"
        await call(serving(verifier, seen.append), cookie, method=method, headers=headers)
        assert seen[0].record is not None


async def test_a_site_that_is_served_without_tls_may_have_its_own_origin(
    verifier: FakeVerifier,
) -> None:
    token, seen = session_token(verifier), list[Session]()
    middleware = serving(verifier, seen.append, secure=False, cookie="session")
    headers = origin_headers(None, "http://intranet", host="intranet")
    await call(middleware, f"session={token}", method="POST", headers=headers)
    assert seen[0].record is not None


@pytest.mark.parametrize("headers", FOREIGN)
async def test_a_request_from_another_origin_cannot_log_in_or_out(
    verifier: FakeVerifier, headers: Headers
) -> None:
    def log_in(session: Session) -> None:
        session.begin(Secret("rsc_ses_attacker"))

    for handle in (log_in, Session.end, Session.log_out):
        answer, got = await call(serving(verifier, handle), method="POST", headers=headers)
        assert (answer["status"], "set-cookie" in got) == (403, False)
        assert got["content-type"] == "application/problem+json"
        answer, got = await call(serving(verifier, handle), kind="websocket", headers=headers)
        assert (answer["type"], "set-cookie" in got) == ("websocket.close", False)


async def test_a_redirect_back_from_an_identity_provider_may_log_in(verifier: FakeVerifier) -> None:
    def log_in(session: Session) -> None:
        session.begin(Secret("rsc_ses_x"))

    _, got = await call(serving(verifier, log_in), headers=origin_headers("cross-site"))
    assert got["set-cookie"].startswith(f"{COOKIE}=rsc_ses_x; ")


@pytest.mark.parametrize(
    "origin", ["app.example.com", "https://*.example.com", "https://a.example/", "https://", "null",
               "https://a.example:port", "*", "https://bücher.example", "ws://a.example"],
)  # fmt: skip
def test_an_invalid_trusted_origin_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match=r"origin|host|port"):
        serving(None, nothing, trusted_origins=[origin])


def test_a_single_origin_in_place_of_a_collection_is_refused() -> None:
    with pytest.raises(ValueError, match="tuple"):
        serving(None, nothing, trusted_origins="https://a.example")


async def test_an_event_stream_ends_with_its_session(verifier: FakeVerifier) -> None:
    token = session_token(verifier)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        verifier.revoke("subject:user:42")
        await asyncio.Event().wait()

    accept = ((b"accept", b"text/event-stream"),)
    answer, _ = await call(SessionMiddleware(app, verifier), f"{COOKIE}={token}", headers=accept)
    assert answer["status"] == 401


async def test_the_request_that_logs_out_is_answered(verifier: FakeVerifier) -> None:
    def log_out(session: Session) -> None:
        verifier.revoke("subject:user:42")
        session.end()

    answer, headers = await call(serving(verifier, log_out), f"{COOKIE}={session_token(verifier)}")
    assert (answer["status"], headers["set-cookie"].startswith(f"{COOKIE}=; ")) == (200, True)


async def test_a_websocket_that_is_accepted_carries_the_cookie_too(verifier: FakeVerifier) -> None:
    def log_in(session: Session) -> None:
        session.begin(Secret("rsc_ses_x"))

    answer, headers = await call(serving(verifier, log_in), kind="websocket")
    assert (answer["type"], "set-cookie" in headers) == ("websocket.accept", True)


def test_a_host_cookie_without_tls_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="name another cookie"):
        serving(None, nothing, secure=False)
    serving(None, nothing, secure=False, cookie="session")
