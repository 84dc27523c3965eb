"""Middleware for any WSGI application that requires a good token for each call.

    application = RescindMiddleware(application, require={"search:read"})

The application finds the token's record in `environ["rescind.record"]`. Some tokens are good from
some networks only, so the server must know the caller's address, `REMOTE_ADDR`. Behind a proxy,
configure that.

Each call is held until its response has ended. A thread cannot be interrupted, so:

* `environ["rescind.hold"].revoked` is a `threading.Event` that is set when the token is denied.
  Long work should look at it between two steps.
* A response that has not begun by then is replaced by the refusal that a new call would get.
* A response that has begun is broken off without a regular end. With gunicorn and Werkzeug that
  happens within milliseconds; with other servers at the next part.

`preflight=True` passes CORS preflights on without a token, for CORS middleware inside. Every part
of the application that answers OPTIONS then runs without a token.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from rescind.integrations.attachment import Attachment, Checking
from rescind.integrations.cgi_variables import is_preflight
from rescind.integrations.guard import Guard, Requirement, open_paths
from rescind.integrations.thread_call import HeldBody, ThreadCall
from rescind.wire.bearer import Refusal

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["RescindMiddleware"]


class RescindMiddleware:
    """Middleware that admits calls with a good bearer token for these scopes and this audience.

    Without `verifier`, the middleware attaches to the sidecar that the environment names, at the
    first call and again at each later call until that succeeds. `audience` None means the sidecar's
    service. Paths in `exempt` match `PATH_INFO` exactly and need no token. `resource_metadata` is
    the URL of the resource's metadata (RFC 9728), for the challenges. Raises ValueError for an
    invalid URL or `exempt`, and ScopeError for an invalid scope.
    """

    def __init__(
        self,
        app: "WSGIApplication",
        verifier: Checking | Attachment | None = None,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        exempt: Collection[str] = ("/healthz",),
        preflight: bool = False,
        resource_metadata: str | None = None,
    ) -> None:
        self._app = app
        requirement = Requirement.parse(
            require, audience=audience, resource_metadata=resource_metadata
        )
        self._guard = Guard(Attachment.of(verifier), requirement)
        self._exempt = open_paths(exempt)
        self._preflight = preflight

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Serve one request."""
        exempt = environ.get("PATH_INFO", "") in self._exempt
        if exempt or (self._preflight and is_preflight(environ)):
            return self._app(environ, start_response)
        match ThreadCall.begin(self._guard, environ):
            case Refusal() as refusal:
                return _refuse(refusal, start_response)
            case call:
                environ["rescind.record"] = call.record
                environ["rescind.hold"] = call.held
                return _Response(call, start_response).run(self._app, environ)


def _refuse(refusal: Refusal, start_response: "StartResponse") -> list[bytes]:
    status = f"{refusal.status} {HTTPStatus(refusal.status).phrase}"
    start_response(status, list(refusal.headers))
    return [refusal.body]


class _Response(Iterator[bytes]):
    """The application's response, or the refusal if the token is denied before it begins."""

    def __init__(self, call: ThreadCall, start_response: "StartResponse") -> None:
        self._call = call
        self._start_response = start_response
        self._head: tuple[Any, ...] | None = None
        self._write: Callable[[bytes], object] | None = None
        self._body: HeldBody | None = None
        self._refused = False

    def run(self, app: "WSGIApplication", environ: "WSGIEnvironment") -> Iterable[bytes]:
        """Call the application; return its body."""
        try:
            self._body = HeldBody(self._call, app(environ, self._start))
        except BaseException:
            self._call.end()
            raise
        return self

    def _start(
        self, status: str, headers: list[tuple[str, str]], error: Any = None, /
    ) -> Callable[[bytes], object]:
        """Keep the head until the first part: then the response begins, or is refused."""
        if self._write is not None:
            return self._start_response(status, headers, error)  # raises `error`, or is misused
        self._head = (status, headers) if error is None else (status, headers, error)
        return self._begin_and_write

    def _begin_and_write(self, part: bytes) -> None:
        self._call.check_unbroken()
        self._begin()
        if self._write is not None:
            self._write(part)

    def _begin(self) -> None:
        if self._write is None and self._head is not None:
            self._call.cut_when_denied()
            self._write = self._start_response(*self._head)

    def __next__(self) -> bytes:
        """Return the next part. Raises ConnectionResetError once the token is denied."""
        if self._refused:
            raise StopIteration
        part = self._take() if self._write is not None else self._take_first()
        if part is None:
            raise StopIteration
        return part

    def _take(self) -> bytes | None:
        return None if self._body is None else next(self._body, None)

    def _take_first(self) -> bytes | None:
        """Return the first part, or the body of the refusal."""
        try:
            part = self._take()
        except ConnectionResetError:
            refusal = self._call.refusal
            if refusal is None or self._write is not None:
                raise
            self._refused = True
            (body,) = _refuse(refusal, self._start_response)
            return body
        self._begin()
        return part

    def close(self) -> None:
        """End the call and close the application's body."""
        if self._body is not None:
            self._body.close()
