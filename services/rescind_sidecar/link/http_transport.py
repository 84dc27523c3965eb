"""The HTTP transport: the same bytes as over NATS, posted to `/link/v1/…` of the authority."""

import ssl
from asyncio import timeout
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx2
import structlog

from rescind.client import causes
from rescind.client.causes import Cause
from rescind.client.tls import TlsFiles
from rescind.errors import UnreachableError
from rescind.wire import nats_subjects
from rescind_runtime.net import nats_connection
from rescind_sidecar.link.transport import Accept, AuthorityBusyError

_SEND_S = 2.0
_MAX_BYTES = 1024 * 1024
"""The most bytes of an answer: as many as NATS would carry."""
_OK, _EMPTY = 200, 204
_HEADERS = {"content-type": "application/octet-stream", "accept-encoding": "identity"}
# Few connections, so that the whole fleet leaves some of the authority's for administrators.
_LOOKUP_LIMITS = httpx2.Limits(
    max_connections=16, max_keepalive_connections=4, keepalive_expiry=4.0
)
_OTHER_LIMITS = httpx2.Limits(max_connections=4, max_keepalive_connections=2, keepalive_expiry=4.0)
_NO_FILES = TlsFiles("authority")

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class HttpTransport:
    """Send messages to the first authority that answers, starting with the one that answered last.

    `run` keeps the connections, and must be running for messages to be sent. A message may be sent
    twice: it carries its own counter or nonce, or changes nothing.
    """

    def __init__(self, urls: Sequence[str], files: TlsFiles = _NO_FILES) -> None:
        self._urls = tuple(urls)
        self._files = files
        self._reported: set[tuple[int, causes.Fault]] = set()
        self._first = 0
        self._lookup_pool: httpx2.AsyncClient | None = None
        self._other_pool: httpx2.AsyncClient | None = None

    async def run(self) -> None:
        """Keep connections open between messages, until cancelled."""
        uses_tls = any(url.startswith("https:") for url in self._urls)
        context = self._files.client() if uses_tls else False
        # Two pools: a flood of look-ups must not take the heartbeat's connection.
        async with (
            _create_pool(context, _LOOKUP_LIMITS) as lookup_pool,
            _create_pool(context, _OTHER_LIMITS) as other_pool,
        ):
            self._lookup_pool, self._other_pool = lookup_pool, other_pool
            try:
                await nats_connection.forever()
            finally:
                self._lookup_pool = self._other_pool = None

    async def request(
        self, subject: str, payload: bytes, *, timeout_s: float, accept: Accept | None = None
    ) -> bytes:
        """Send a request, and return the answer."""
        failure: UnreachableError | None = None
        try:
            async with timeout(timeout_s):
                for number in self._order_authorities():
                    # Each authority has a share of the time, so a silent one cannot use it all up.
                    share_s = timeout_s / len(self._urls)
                    try:
                        answer = await self._post(number, subject, payload, share_s=share_s)
                        rejected = answer and accept is not None and not accept(answer)
                    except UnreachableError as error:
                        failure = error
                        continue
                    if rejected:
                        failure = UnreachableError(
                            f"no authority of this installation answered {subject}"
                        )
                        continue
                    if answer:
                        self._first = number
                        return answer
                    # Perhaps this authority cannot reach its Postgres; the next one may.
                    failure = AuthorityBusyError(subject)
        except TimeoutError:
            pass
        raise failure or UnreachableError(f"no authority answered {subject} over HTTP in time")

    async def send(self, subject: str, payload: bytes) -> None:
        """Send a message that has no answer."""
        failure: UnreachableError | None = None
        for number in self._order_authorities():
            try:
                await self._post(number, subject, payload, share_s=_SEND_S / len(self._urls))
            except UnreachableError as error:
                failure = error
            else:
                return
        raise failure or UnreachableError(f"{subject} did not reach an authority over HTTP")

    def _order_authorities(self) -> Sequence[int]:
        # The first is tried again at the end: a connection that it has just closed fails at once.
        order = [(self._first + step) % len(self._urls) for step in range(len(self._urls))]
        return [*order, order[0]]

    async def _post(self, number: int, subject: str, payload: bytes, *, share_s: float) -> bytes:
        pool = self._lookup_pool if subject == nats_subjects.RESOLVE else self._other_pool
        if pool is None:
            raise UnreachableError("HTTP is not in use yet, or no more")
        url = f"{self._urls[number]}{nats_subjects.path(subject)}"
        answer = bytearray()
        try:
            async with (
                timeout(share_s),
                pool.stream(
                    "POST",
                    url,
                    content=payload,
                    timeout=share_s,
                    extensions={"trace": _Handshake().trace},
                ) as response,
            ):
                if response.status_code not in {_OK, _EMPTY}:
                    raise UnreachableError(f"{url} answered {response.status_code}")
                async for chunk in response.aiter_raw():
                    answer += chunk
                    if len(answer) > _MAX_BYTES:
                        raise UnreachableError(f"{url} answered over {_MAX_BYTES} bytes")
        # anyio raises AttributeError for a connection that was closed while it was made.
        except (httpx2.HTTPError, TimeoutError, OSError, AttributeError) as error:
            cause = causes.of(error)
            self._note(number, cause)
            raise UnreachableError(
                f"no authority answered at {url}: {cause.description}"
            ) from error
        if self._reported:
            self._reported = {(place, kind) for place, kind in self._reported if place != number}
        return bytes(answer)

    def _note(self, number: int, cause: Cause) -> None:
        """Log a lasting fault once, until this authority answers again."""
        fault = (number, cause.kind)
        if cause.transient or fault in self._reported:
            return
        self._reported.add(fault)
        _log.warning(
            "an authority cannot be asked over HTTP",
            action="link.refused",
            server=urlsplit(self._urls[number]).netloc.rpartition("@")[2],
            cause=str(cause.kind),
            why=cause.description,
            do=cause.advice("authority", "RESCIND_URL"),
        )


class _Handshake:
    """Close the connection if the task is cancelled, as by a time-out, in the TLS handshake.

    httpcore closes the connection only if the handshake itself fails. Without this class, the event
    loop would keep the socket as long as the server does: one more for each message to an authority
    that hangs.
    """

    def __init__(self) -> None:
        self._connection: Any = None

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Store the connection, and close it if its TLS handshake fails. httpcore calls this."""
        match event:
            case "connection.connect_tcp.complete":
                self._connection = info["return_value"]
            case "connection.start_tls.failed":
                await self._connection.aclose()
            case _:
                pass


def _create_pool(verify: ssl.SSLContext | bool, limits: httpx2.Limits) -> httpx2.AsyncClient:
    # A proxy of the environment (HTTP_PROXY) is never used between a sidecar and its authority.
    return httpx2.AsyncClient(verify=verify, limits=limits, trust_env=False, headers=_HEADERS)
