"""The authority over HTTP, as httpx2 speaks it: options, errors and answers, for both clients."""

import contextlib
import ipaddress
from collections.abc import Generator
from typing import Any, TypedDict, TypeVar, cast

import httpx2

from rescind.client import problems
from rescind.client.admin.calls import Call, Document
from rescind.client.problems import OutcomeUnknownError
from rescind.core.secret import Secret
from rescind.errors import MalformedMessageError, RescindError, UnreachableError

T = TypeVar("T")

TIMEOUT_S = 10.0
SILENCE_S = 60.0
"""How long the event stream may be silent: the authority sends a comment every 15 s."""
RETRY_S = 1.0
PATIENCE = 60
"""How often in a row the event stream is opened anew before it is given up."""

_SERVER_ERROR = 500
_OURS = "urn:rescind:problem:"
_UNCERTAIN = frozenset({f"{_OURS}outcome-unknown", f"{_OURS}internal"})


class Options(TypedDict):
    """What both kinds of httpx2 client are made with."""

    base_url: str
    headers: dict[str, str]
    timeout: float
    trust_env: bool


def options(url: str, token: Secret | None, *, timeout_s: float) -> Options:
    """Give the options of a client. Raises RescindError for what is no URL."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise RescindError(f"{url!r} is no URL: expected http://… or https://…") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise RescindError(f"{url!r} is no URL of the authority: expected http://… or https://…")
    headers = {"authorization": f"Bearer {token.reveal()}"} if token is not None else {}
    # A proxy that the environment names never stands between us and this very machine.
    return Options(
        base_url=url,
        headers=headers,
        timeout=timeout_s,
        trust_env=not _loopback(parsed.host),
    )


def arguments(call: Call[T]) -> dict[str, Any]:
    """Give what httpx2's `request` takes."""
    keyed = {"headers": {"idempotency-key": call.key}} if call.key is not None else {}
    return {
        "method": call.method,
        "url": call.path,
        "params": call.query or None,
        "json": call.body,
        **keyed,
    }


def stream(after: int) -> dict[str, Any]:
    """Give what httpx2's `sse` takes to follow the events that come after a position."""
    return {
        "url": "/v1/events",
        "method": "GET",
        "headers": {"last-event-id": str(after)},
        "timeout": httpx2.Timeout(TIMEOUT_S, read=SILENCE_S),
    }


def answer(call: Call[T], response: httpx2.Response) -> T:
    """Read an answer, or raise what it says went wrong."""
    if response.is_success or response.status_code in call.also:
        return call.read(_object(response))
    problem = refusal(response)
    # Only the authority itself can say that nothing was changed: a proxy before it does not know.
    certain = problem.type.startswith(_OURS) and problem.type not in _UNCERTAIN
    if call.key is not None and response.status_code >= _SERVER_ERROR and not certain:
        raise OutcomeUnknownError(str(problem), idempotency_key=call.key) from problem
    raise problem


def refusal(response: httpx2.Response) -> problems.ProblemError:
    """Read the problem that a response carries."""
    try:
        document = response.json()
    except ValueError:
        document = None
    return problems.read(
        document,
        status=response.status_code,
        reason=f"the authority answered {response.status_code}",
    )


def event(sent: httpx2.ServerSentEvent) -> tuple[int, Document]:
    """Read one event of the stream, with its seq."""
    try:
        return int(sent.id), _mapping(sent.json())
    except ValueError as error:
        raise MalformedMessageError("event", "not a JSON object under a seq") from error


@contextlib.contextmanager
def translated(url: str, *, key: str | None = None) -> Generator[None]:
    """Turn httpx2's errors into ours. A command that may have arrived has an unknown outcome."""
    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
        raise _unreachable(url, error) from error
    except httpx2.HTTPError as error:
        if key is not None:
            problem = f"the answer of {url} did not come ({type(error).__name__})."
            raise OutcomeUnknownError(problem, idempotency_key=key) from error
        raise _unreachable(url, error) from error


def _unreachable(url: str, error: Exception) -> UnreachableError:
    return UnreachableError(
        f"no authority answers at {url} ({str(error) or type(error).__name__}): "
        "start it with `rescind up`, or correct RESCIND_URL"
    )


def _object(response: httpx2.Response) -> Document:
    try:
        document: object = response.json()
    except ValueError as error:
        raise MalformedMessageError("answer", "not JSON: is this URL the authority's?") from error
    return _mapping(document)


def _mapping(document: object) -> Document:
    if not isinstance(document, dict):
        raise MalformedMessageError("answer", "not a JSON object: is this URL the authority's?")
    return cast("Document", document)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
