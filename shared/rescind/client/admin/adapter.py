"""httpx2 for both clients: options, requests, answers, and translated errors."""

import contextlib
import re
import ssl
from collections.abc import Generator, Sequence
from typing import Any, TypedDict, TypeVar, cast

import httpx2

from rescind.client import causes, problems, tls
from rescind.client.admin.calls import Call, Document
from rescind.client.causes import Fault
from rescind.client.problems import OutcomeUnknownError
from rescind.client.tls import LinkSecurity, PlaintextError, TlsFiles
from rescind.core.secret import Secret
from rescind.errors import (
    MalformedMessageError,
    MalformedTokenError,
    RescindError,
    UnreachableError,
)

T = TypeVar("T")

TIMEOUT_S = 10.0
SILENCE_S = 60.0
"""How long the event stream may be silent: the authority sends a comment every 15 s."""
RETRY_S = 1.0
MAX_REOPENS = 60
"""How many times in a row the event stream is reopened before the error is raised."""

_SERVER_ERROR = 500
_PROBLEM_PREFIX = "urn:rescind:problem:"
_HEADER_TEXT = re.compile(r"[!-~]+")
_UNCERTAIN = frozenset({f"{_PROBLEM_PREFIX}outcome-unknown", f"{_PROBLEM_PREFIX}internal"})


class Options(TypedDict):
    """The arguments of both kinds of httpx2 client."""

    base_url: str
    headers: dict[str, str]
    timeout: float
    trust_env: bool
    verify: ssl.SSLContext | bool


NO_FILES = TlsFiles("authority")
"""The trust store of the system, and no client certificate."""


def unreachable(urls: Sequence[str]) -> UnreachableError:
    """Return the error for several authorities, none of which answered."""
    return UnreachableError(
        f"no authority answers at any of {', '.join(urls)}: start one, or correct RESCIND_URL"
    )


def options(
    urls: Sequence[str],
    index: int,
    token: Secret | None,
    *,
    timeout_s: float,
    security: LinkSecurity,
) -> Options:
    """Return the options of a client for one of several URLs.

    Raises RescindError for a text that is not a URL, PlaintextError if any of the URLs leads to
    another machine in clear text, since each of them may get the token, and MalformedTokenError for
    a token that no header can carry.
    """
    parsed_urls = [_parse_url(url) for url in (urls[index], *urls)]
    for each in parsed_urls:
        if each.scheme == "http" and not (security.plaintext or tls.local(each.host)):
            advice = "Write https://…"
            raise PlaintextError(tls.refusal("RESCIND_URL", "authority", each.host, advice))
    headers = {"authorization": f"Bearer {_require_sendable(token)}"} if token is not None else {}
    # Requests to this machine never use a proxy that the environment names.
    return Options(
        base_url=urls[index],
        headers=headers,
        timeout=timeout_s,
        trust_env=not tls.local(parsed_urls[0].host),
        verify=security.files.client() if parsed_urls[0].scheme == "https" else False,
    )


def _require_sendable(token: Secret) -> str:
    text = token.reveal()
    if not _HEADER_TEXT.fullmatch(text):
        raise MalformedTokenError(
            "the token is not one line of visible ASCII, so it was not sent: give one token, as "
            "`rescind issue` prints it"
        )
    return text


def _parse_url(url: str) -> httpx2.URL:
    try:
        parsed_url = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise RescindError(f"{url!r} is not a URL: expected http://… or https://…") from error
    if parsed_url.scheme not in {"http", "https"} or not parsed_url.host:
        raise RescindError(f"{url!r} is not a URL of an authority: expected http://… or https://…")
    return parsed_url


def arguments(call: Call[T]) -> dict[str, Any]:
    """Return the arguments of `request` of httpx2."""
    key_headers = {"headers": {"idempotency-key": call.key}} if call.key is not None else {}
    return {
        "method": call.method,
        "url": call.path,
        "params": call.query or None,
        "json": call.body,
        **key_headers,
    }


def stream(after: int) -> dict[str, Any]:
    """Return the arguments of `sse` of httpx2, to follow the events after a seq."""
    return {
        "url": "/v1/events",
        "method": "GET",
        "headers": {"last-event-id": str(after)},
        "timeout": httpx2.Timeout(TIMEOUT_S, read=SILENCE_S),
    }


def answer(call: Call[T], response: httpx2.Response) -> T:
    """Return an answer. Raises ProblemError or OutcomeUnknownError for a refusal."""
    if response.is_success or response.status_code in call.also:
        return call.read(_read_object(response))
    problem = refusal(response)
    # Only the authority itself can report that nothing was changed; a proxy cannot.
    certain = problem.type.startswith(_PROBLEM_PREFIX) and problem.type not in _UNCERTAIN
    if call.key is not None and response.status_code >= _SERVER_ERROR and not certain:
        raise OutcomeUnknownError(str(problem), idempotency_key=call.key) from problem
    raise problem


def refusal(response: httpx2.Response) -> problems.ProblemError:
    """Return the problem that a response carries."""
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
    """Return one event of the stream, with its seq. Raises MalformedMessageError."""
    try:
        return int(sent.id), _require_mapping(sent.json())
    except ValueError as error:
        raise MalformedMessageError("event", "not a JSON object under a seq") from error


@contextlib.contextmanager
def translated(url: str, *, key: str | None = None) -> Generator[None]:
    """Raise the errors of httpx2 as UnreachableError or OutcomeUnknownError.

    The outcome of a command (`key`) is unknown if the request may have arrived.
    """
    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
        raise _build_error(url, error) from error
    except (httpx2.HTTPError, ssl.SSLError) as error:  # AsyncClient does not wrap errors of TLS
        # A server may refuse the client's certificate after the client has sent its request.
        if key is not None and causes.of(error).kind not in _REQUEST_NOT_READ:
            problem = f"the answer of {url} did not come ({type(error).__name__})."
            raise OutcomeUnknownError(problem, idempotency_key=key) from error
        raise _build_error(url, error) from error


_REQUEST_NOT_READ = {Fault.CLIENT_CERTIFICATE, Fault.CLIENT_CERTIFICATE_REFUSED}


def _build_error(url: str, error: Exception) -> UnreachableError:
    cause = causes.of(error)
    if cause.transient or cause.kind is Fault.NAME:
        return UnreachableError(
            f"no authority answers at {url} ({cause.description}): "
            "start it with `rescind up`, or correct RESCIND_URL"
        )
    return UnreachableError(
        f"the authority at {url} cannot be used: {cause.description}. "
        f"{cause.advice('authority', 'RESCIND_URL')}"
    )


def _read_object(response: httpx2.Response) -> Document:
    try:
        document: object = response.json()
    except ValueError as error:
        raise MalformedMessageError("answer", "not JSON: is this URL the authority's?") from error
    return _require_mapping(document)


def _require_mapping(document: object) -> Document:
    if not isinstance(document, dict):
        raise MalformedMessageError("answer", "not a JSON object: is this URL the authority's?")
    return cast("Document", document)
