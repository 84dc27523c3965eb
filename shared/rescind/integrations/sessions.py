"""Sessions for any ASGI application: an opaque token in a cookie that no script can read.

    app = SessionMiddleware(app)

    async def log_in(request):                        # after the password, or the passkey
        session = request.state.session
        await session.log_out()                       # the one that this browser had before
        issued = await admin.issue(subject="user:42", kind="session", ttl=30 * 86_400,
                                   user_agent=…, address=request.client.host)
        session.begin(issued.token)

    async def anything(request):
        record = request.state.session.record         # None: no user is logged in

    async def log_out(request):                       # here, or everywhere=True
        await request.state.session.log_out(wait=True)

A revoked session ends with the next request, at every service; its cookie is cleared.

Unsafe requests have a session only if they come from the site's own pages or from
`trusted_origins`. A POST or websocket of another origin is served without a session, and can
neither begin nor end one.
"""

import json
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Literal

from rescind.client.holds.hold import Hold
from rescind.core.record import Record
from rescind.core.secret import Secret
from rescind.core.token_format import Kind
from rescind.core.verdict import NOT_JUDGED, Allowed, Denied, Reason
from rescind.errors import DeniedError, RescindError, UnreachableError
from rescind.integrations.asgi_call import (
    POLICY_VIOLATION,
    AsgiCall,
    Message,
    Receive,
    Scope,
    Send,
    address_of,
)
from rescind.integrations.attachment import Attachment, Checking
from rescind.integrations.origins import Origins
from rescind.wire import bearer

App = Callable[[Scope, Receive, Send], Awaitable[None]]
SameSite = Literal["lax", "strict"]

COOKIE = "__Host-session"
"""`__Host-`: sent only to the host that set it, and only over TLS (RFC 6265bis, section 4.1.3)."""

_FOREIGN_BODY = json.dumps(
    {
        "type": "urn:rescind:problem:cross-origin",
        "title": "The call comes from another origin",
        "status": 403,
        "detail": "A page of another origin cannot log in or out. If it is yours, add it to the "
        "trusted_origins of SessionMiddleware.",
    }
).encode()
_FOREIGN_HEADERS = [
    (b"content-type", b"application/problem+json"),
    (b"content-length", str(len(_FOREIGN_BODY)).encode()),
    (b"cache-control", b"no-store"),
]
_STARTS = frozenset({"http.response.start", "websocket.http.response.start", "websocket.accept"})


class Session:
    """The session of one request; `request.state.session` in Starlette and FastAPI.

    `foreign` is True for an unsafe request that another origin's page may have sent. Such a request
    has no record, and `begin`, `end` and `log_out` turn its answer into a 403 without a cookie.
    """

    def __init__(
        self,
        record: Record | None,
        token: Secret | None,
        *,
        foreign: bool = False,
        authority: str | None = None,
    ) -> None:
        self.record = record
        self.token = token
        self.foreign = foreign
        self.cookie: tuple[str, int | None] | None = None
        self._authority = authority
        self._live = token is not None

    def begin(self, token: Secret, *, max_age_s: int | None = None) -> None:
        """Set the cookie to the token of a new session, after a log-in.

        Args:
            token: The token that the authority issued.
            max_age_s: How long the browser keeps the cookie, in seconds; None: until the browser
                is closed.

        Raises:
            RescindError: The browser's former session is live; end it with `await log_out()`.
        """
        if self._live:
            raise RescindError(
                "this browser has a session, and its token would stay valid beside the new one: "
                "call `await session.log_out()` before `begin`, or `renew` after a rotation"
            )
        self.cookie = (token.reveal(), max_age_s)

    def renew(self, token: Secret, *, max_age_s: int | None = None) -> None:
        """Set the cookie to the new secret of this session, after `Bearer.rotate`.

        `max_age_s` is as for `begin`. Raises RescindError if the request has no session.
        """
        if not self._live:
            raise RescindError("this request has no session that could be renewed: call `begin`")
        self.cookie = (token.reveal(), max_age_s)

    async def log_out(self, *, everywhere: bool = False, wait: bool = False) -> None:
        """End this session at the authority and clear the cookie; do nothing without a session.

        Args:
            everywhere: True: end all sessions of the subject.
            wait: True: return when no verifier accepts the session any more.

        Raises:
            RescindError: As `AsyncBearer.log_out` raises it. The cookie then stays unchanged.
        """
        if self.foreign:
            self.end()  # the middleware turns this into a 403
        if self.token is None or not self._live:
            return
        from rescind.client import AsyncBearer, settings  # noqa: PLC0415 - of the extra `admin`

        configured = settings.load()
        url = self._authority or configured.require_url("SessionMiddleware(authority=…)")
        async with AsyncBearer(
            url,
            self.token,
            files=configured.security.files,
            plaintext=configured.security.plaintext,
        ) as bearer:
            await bearer.log_out(everywhere=everywhere, wait=wait)
        self.end()

    def end(self) -> None:
        """Clear the cookie. The session stays live at the authority; `log_out` ends it there."""
        self._live = False
        self.cookie = ("", 0)


class SessionMiddleware:
    """Middleware that checks the session's cookie, and sets or clears it for the application.

    If the token is denied, the cookie is cleared and the request has no session. An unsafe request
    (not GET and the like) from a page of another origin, including a sibling, has no session
    either, unless that origin is in `trusted_origins` (https://HOST). Behind a proxy that changes
    `Host`, and where browsers send no `Sec-Fetch-Site` (without TLS), add the site's own origin to
    `trusted_origins` too.

    If the token cannot be checked, the answer is 503. Event streams and websockets are held, as by
    `RescindMiddleware`: they end with the session. Any other request that has begun may finish,
    since it may be the one that logs out.

    `authority` is the URL at which sessions log out; default: RESCIND_URL. `secure=False` is for a
    server without TLS on your own machine; it requires another `cookie`. Raises ValueError for a
    `cookie` that requires TLS without `secure`, and for a trusted origin that is not an origin.
    """

    def __init__(
        self,
        app: App,
        verifier: Checking | None = None,
        *,
        audience: str | None = None,
        authority: str | None = None,
        cookie: str = COOKIE,
        same_site: SameSite = "lax",
        secure: bool = True,
        trusted_origins: Collection[str] = (),
    ) -> None:
        if cookie.startswith(("__Host-", "__Secure-")) and not secure:
            raise ValueError(f"a browser drops {cookie} without `secure`: name another cookie")
        self._app = app
        self._attachment = Attachment(verifier)
        self._audience = audience
        self._authority = authority
        self._cookie = cookie
        self._origins = Origins(trusted_origins, secure=secure)
        self._attributes = f"Path=/; HttpOnly; SameSite={same_site.title()}" + (
            "; Secure" if secure else ""
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._attachment.closing(send))
            return
        token = _find_cookie(scope["headers"], self._cookie)
        foreign = self._origins.foreign(scope)
        if token is None or foreign:
            await self._serve(Session(None, None, foreign=foreign), scope, receive, send)
        else:
            await self._guard(token, scope, receive, send)

    async def _guard(self, token: str, scope: Scope, receive: Receive, send: Send) -> None:
        call = AsgiCall(scope, receive, send)
        try:
            verifier = await self._attachment.verifier()
        except UnreachableError:
            await call.refuse(self._build_refusal(Reason.UNAVAILABLE))
            return
        address = address_of(scope)
        match await verifier.acheck(token, audience=self._audience, address=address):
            case Allowed(record) if record.kind is Kind.SESSION and not _is_lasting(scope):
                await self._serve(self._build_session(record, Secret(token)), scope, receive, send)
            case Allowed(record) if record.kind is Kind.SESSION:
                holding = verifier.hold(token, audience=self._audience, address=address)
                await self._serve_held(Secret(token), scope, call, holding)
            case Denied(reason) if reason in NOT_JUDGED:
                await call.refuse(self._build_refusal(reason))
            case Allowed() | Denied():
                ended_session = Session(None, None)
                ended_session.end()
                await self._serve(ended_session, scope, receive, send)

    async def _serve_held(self, token: Secret, scope: Scope, call: AsgiCall, holding: Hold) -> None:
        try:
            async with holding as record:
                session = self._build_session(record, token)
                await self._serve(session, scope, call.receive, call.sending(holding))
        except (DeniedError, ExceptionGroup):
            if holding.reason is None:
                raise  # the application's own
            await call.cut(self._build_refusal(holding.reason))

    def _build_session(self, record: Record, token: Secret) -> Session:
        return Session(record, token, authority=self._authority)

    def _build_refusal(self, reason: Reason) -> bearer.Refusal:
        self._attachment.note(reason)
        return bearer.refuse(reason)

    async def _serve(self, session: Session, scope: Scope, receive: Receive, send: Send) -> None:
        state = {**scope.get("state", {}), "session": session, "rescind": session.record}
        wrap_send = self._refuse_cookies if session.foreign else self._set_cookies
        await self._app({**scope, "state": state}, receive, wrap_send(session, send))

    def _refuse_cookies(self, session: Session, send: Send) -> Send:
        """Replace a response that sets or clears the cookie with a 403.

        Other responses pass unchanged.
        """
        is_refused = False

        async def refuse_or_send(message: Message) -> None:
            nonlocal is_refused
            if is_refused:
                return
            kind = message["type"]
            if kind not in _STARTS or session.cookie is None:
                await send(message)
                return
            is_refused = True
            if kind == "websocket.accept":
                await send({"type": "websocket.close", "code": POLICY_VIOLATION})
                return
            await send({**message, "status": 403, "headers": _FOREIGN_HEADERS})
            await send({"type": kind.removesuffix("start") + "body", "body": _FOREIGN_BODY})

        return refuse_or_send

    def _set_cookies(self, session: Session, send: Send) -> Send:
        async def set_then_send(message: Message) -> None:
            if message["type"] in _STARTS and session.cookie is not None:
                token, max_age_s = session.cookie
                age = "" if max_age_s is None else f"; Max-Age={max_age_s}"
                cookie = f"{self._cookie}={token}; {self._attributes}{age}".encode()
                headers = [*message.get("headers", ()), (b"set-cookie", cookie)]
                # No cache on the way may store an answer that carries a token.
                if not any(name.lower() == b"cache-control" for name, _ in headers):
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers}
            await send(message)

        return set_then_send


def _find_cookie(headers: Iterable[tuple[bytes, bytes]], cookie: str) -> str | None:
    """Return the cookie's value: None without one, and an empty text if there are two."""
    pairs = (
        pair.strip().partition("=")
        for name, value in headers
        if name.lower() == b"cookie"
        for pair in value.decode("latin-1").split(";")
    )
    values = [value for name, _, value in pairs if name == cookie]
    return None if not values else values[0] if len(values) == 1 else ""


def _is_lasting(scope: Scope) -> bool:
    """Return True for a long-lived call: a websocket or an event stream."""
    accept = dict(scope["headers"]).get(b"accept", b"")
    return scope["type"] == "websocket" or b"text/event-stream" in accept
