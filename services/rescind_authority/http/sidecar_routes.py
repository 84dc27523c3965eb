"""`/link/v1/…`: the sidecars' requests when NATS fails, in the same bytes as over NATS.

A message authenticates its sender by its MAC or by the encrypted credential, so no admin token is
needed. 204 is the empty answer: "not now", or no content.

HTTP/1.1 allows one request at a time on a connection, and a sidecar opens a few connections. The
number of requests under way is bounded for each subject, by far less than over NATS. So an
administrator's request never queues behind a fleet that has lost NATS. A request above the bound is
refused at once, and its sidecar tries the next authority.
"""

from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from rescind.errors import MalformedMessageError, RescindError
from rescind.wire import nats_subjects, signed_envelope
from rescind.wire.heartbeat import ENROL_AGAIN
from rescind_authority.errors import NotEnrolledError
from rescind_authority.http import problems
from rescind_authority.http.dependencies import mark_authenticated
from rescind_authority.ports.metrics import Metrics
from rescind_authority.usecases.access.refused_messages import RefusedMessages
from rescind_authority.usecases.sidecar_api import EMPTY, SidecarApi
from rescind_runtime.clock import SystemClock

MAX_BYTES = 64 * 1024
"""The size limit of a request.

The largest request except an offer, a report of 1,000 tokens in use, has half of this size.
"""

_MAX_OFFER_BYTES = 1024 * 1024

_MAX_HEARTBEATS = 1_024
_MAX_LOOKUPS = 512
_MAX_ENROLMENTS = 32  # each of them opens a box and reads Postgres
_MAX_SINCE = 64  # each of them may read Postgres
_MAX_REPORTS = 64
_MAX_OFFERS = 8
_BAD_REQUEST = 400
_MEDIA_TYPE = "application/octet-stream"

Answer = Callable[[bytes], Awaitable[bytes]]


class _RequestClass:
    """The handler and limits of one subject, and its number of requests under way."""

    def __init__(
        self,
        subject: str,
        answer: Answer,
        *,
        most: int,
        max_bytes: int = MAX_BYTES,
        authenticates: bool = True,
    ) -> None:
        self.subject = subject
        self.authenticates = authenticates
        """Whether an answer shows that the message had the MAC of an instance."""
        self.max_bytes = max_bytes
        self.answer = answer
        self.most = most
        self.under_way = 0


class SidecarRoutes:
    """The HTTP routes for the requests of sidecars."""

    def __init__(self, sidecar_api: SidecarApi, metrics: Metrics) -> None:
        self._sidecar_api = sidecar_api
        self._metrics = metrics
        self._refused = RefusedMessages(clock=SystemClock(), metrics=metrics)

    def routes(self) -> list[BaseRoute]:
        """Return a route for each subject.

        The OpenAPI document, which is for people, does not list these routes.
        """
        request_classes = (
            _RequestClass(
                nats_subjects.HEARTBEAT, self._sidecar_api.heartbeat, most=_MAX_HEARTBEATS
            ),
            _RequestClass(nats_subjects.RESOLVE, self._sidecar_api.look_up, most=_MAX_LOOKUPS),
            _RequestClass(
                nats_subjects.ENROL,
                self._sidecar_api.enrol,
                most=_MAX_ENROLMENTS,
                authenticates=False,
            ),
            _RequestClass(nats_subjects.SINCE, self._sidecar_api.since, most=_MAX_SINCE),
            _RequestClass(
                nats_subjects.ACK, _without_answer(self._sidecar_api.ack), most=_MAX_HEARTBEATS
            ),
            _RequestClass(
                nats_subjects.USED, _without_answer(self._sidecar_api.used), most=_MAX_REPORTS
            ),
            _RequestClass(
                nats_subjects.OFFER,
                self._sidecar_api.offer,
                most=_MAX_OFFERS,
                max_bytes=_MAX_OFFER_BYTES,
            ),
        )
        return [
            Route(
                nats_subjects.path(kind.subject),
                self._build_endpoint(kind),
                methods=["POST"],
                include_in_schema=False,
            )
            for kind in request_classes
        ]

    def _build_endpoint(self, kind: _RequestClass) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            payload = await request.body()
            if len(payload) > kind.max_bytes:
                return problems.too_large(kind.max_bytes, path=request.url.path)
            answer = await self._answer(kind, payload, request.scope)
            if not answer:
                return Response(status_code=204)
            return Response(answer, media_type=_MEDIA_TYPE, headers={"cache-control": "no-store"})

        return respond

    async def _answer(self, kind: _RequestClass, payload: bytes, scope: Scope) -> bytes:
        if kind.under_way >= kind.most:
            self._metrics.unanswered(subject=kind.subject, outcome="overloaded")
            return EMPTY
        kind.under_way += 1
        try:
            answer = await kind.answer(payload)
        except MalformedMessageError as error:
            self._refused.count_refused(kind.subject, error)
            raise HTTPException(_BAD_REQUEST, str(error)) from error
        except NotEnrolledError:
            # The sender does not wait for this answer; the answer to its next heartbeat reports it.
            self._metrics.unanswered(subject=kind.subject, outcome="not_enrolled")
            return EMPTY
        except RescindError:
            # Overloaded, or Postgres is unavailable: the metrics and /readyz report the cause.
            self._metrics.unanswered(subject=kind.subject, outcome="unavailable")
            return EMPTY
        finally:
            kind.under_way -= 1
        if answer == ENROL_AGAIN:
            self._metrics.unanswered(subject=kind.subject, outcome="not_enrolled")
        elif kind.authenticates:
            mark_authenticated(scope, signed_envelope.decode(payload).key_id.hex())
        return answer


def _without_answer(handle: Callable[[bytes], None]) -> Answer:
    """Return a handler whose answer is always empty."""

    async def answer(payload: bytes) -> bytes:
        handle(payload)
        return EMPTY

    return answer
