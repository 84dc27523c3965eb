"""A decorator for the views of Flask, which requires a good token for each call.

    from rescind.integrations.flask import requires

    @app.get("/search")
    @requires("search:read")
    def search():
        return g.rescind.subject

The view finds the token's record in `g.rescind`, and the hold of its thread in `g.rescind_hold`:
long work should look at `g.rescind_hold.revoked` between two steps. A stream is broken off when the
token is denied.

All views of an application share one verifier. `init_app(app, verifier)` sets it, as in a test to a
`rescind.testing.FakeVerifier`. Otherwise it is attached to the sidecar that the environment names,
at the first call and again at each later call until that succeeds.

To protect a whole application, wrap it: `app.wsgi_app = RescindMiddleware(app.wsgi_app)`, from
`rescind.integrations.wsgi`.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, cast

from rescind.integrations.attachment import Attachment, Checking
from rescind.integrations.extras import needing
from rescind.integrations.guard import Guard, Requirement
from rescind.integrations.thread_call import ThreadCall
from rescind.wire.bearer import Refusal

with needing("flask", "flask"):
    from flask import Flask, Response, current_app, g, request
    from flask.typing import ResponseReturnValue

__all__ = ["init_app", "requires"]

_Parameters = ParamSpec("_Parameters")
_EXTENSION = "rescind"


def init_app(app: Flask, verifier: Checking | None = None) -> None:
    """Set the verifier that the views of an application share."""
    app.extensions[_EXTENSION] = Attachment(verifier)


def requires(
    *scopes: str, audience: str | None = None, resource_metadata: str | None = None
) -> Callable[
    [Callable[_Parameters, ResponseReturnValue]], Callable[_Parameters, ResponseReturnValue]
]:
    """Return a decorator that admits calls with a good bearer token for these scopes.

    `audience` None means the sidecar's service. `resource_metadata` is the URL of the resource's
    metadata (RFC 9728), for the challenges. Raises ValueError for an invalid URL, and ScopeError
    for an invalid scope.
    """
    requirement = Requirement.parse(scopes, audience=audience, resource_metadata=resource_metadata)

    def decorate(
        view: Callable[_Parameters, ResponseReturnValue],
    ) -> Callable[_Parameters, ResponseReturnValue]:
        @wraps(view)
        def guarded(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> ResponseReturnValue:
            match ThreadCall.begin(Guard(_find_attachment(), requirement), request.environ):
                case Refusal() as refusal:
                    return _build_response(refusal)
                case call:
                    g.rescind, g.rescind_hold = call.record, call.held
                    return _serve(call, lambda: current_app.ensure_sync(view)(*args, **kwargs))

        return guarded

    return decorate


def _serve(call: ThreadCall, respond: Callable[[], ResponseReturnValue]) -> Response:
    try:
        response = current_app.make_response(respond())
    except BaseException:
        call.end()
        raise
    response.call_on_close(call.end)
    if (refusal := call.refusal) is not None:
        response.close()
        return _build_response(refusal)
    if response.is_streamed:
        _hold_parts(response, call)
    else:
        call.end()
    return response


def _hold_parts(response: Response, call: ThreadCall) -> None:
    close = getattr(response.response, "close", None)
    if close is not None:
        response.call_on_close(close)
    response.response = call.stream(response.iter_encoded())
    response.direct_passthrough = False  # or the server sends a file itself, and skips `close`


def _build_response(refusal: Refusal) -> Response:
    return Response(refusal.body, refusal.status, dict(refusal.headers))


def _find_attachment() -> Attachment:
    return cast("Attachment", current_app.extensions.setdefault(_EXTENSION, Attachment(None)))
