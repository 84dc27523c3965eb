"""`/link/v1/…`: what sidecars ask when NATS fails them, in the same bytes as over NATS.

Whoever sends a message proves it in the message, by its MAC or by the sealed credential, so there
is no admin token here. 204 is the empty answer: "not now", or nothing to say.

HTTP/1.1 has one request of a connection under way, and a sidecar opens a few. Of each subject so
many are under way in all, far fewer than over NATS: what an admin asks never queues behind a
fleet whose NATS is gone. One more is refused at once, and its sidecar asks the next authority.
"""

from collections.abc import Awaitable, Callable

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from rescind.errors import MalformedMessageError, RescindError
from rescind.wire import subjects
from rescind.wire.heartbeat import ENROL_AGAIN
from rescind_authority.errors import NotEnrolledError
from rescind_authority.http import problems
from rescind_authority.metrics import Metrics
from rescind_authority.usecases.desk import EMPTY, Desk
from rescind_runtime.clock import monotonic_raw_ns
from rescind_runtime.seldom import Seldom

MAX_BYTES = 64 * 1024
"""Of a request. The largest but an offer, a report of 1,000 tokens in use, is half of it."""

_MAX_OFFER_BYTES = 1024 * 1024

_MOST_HEARTBEATS = 1_024
_MOST_LOOKS = 512
_MOST_ENROLMENTS = 32  # each of them opens a box and reads Postgres
_MOST_SINCE = 64  # each of them may read Postgres
_MOST_REPORTS = 64
_MOST_OFFERS = 8
_BAD_REQUEST = 400
_MEDIA_TYPE = "application/octet-stream"

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()

Answer = Callable[[bytes], Awaitable[bytes]]


class _Lane:
    """How one subject is answered, and how many of its requests are under way."""

    def __init__(
        self, subject: str, answer: Answer, *, most: int, max_bytes: int = MAX_BYTES
    ) -> None:
        self.subject = subject
        self.max_bytes = max_bytes
        self.answer = answer
        self.most = most
        self.at_once = 0


class Counter:
    """Where sidecars ask, over HTTP."""

    def __init__(self, desk: Desk, metrics: Metrics) -> None:
        self._desk = desk
        self._metrics = metrics
        self._refusals = Seldom()

    def routes(self) -> list[BaseRoute]:
        """Give a route for each subject; none of them is in the schema, which is for people."""
        lanes = (
            _Lane(subjects.HEARTBEAT, self._desk.heartbeat, most=_MOST_HEARTBEATS),
            _Lane(subjects.RESOLVE, self._desk.resolve, most=_MOST_LOOKS),
            _Lane(subjects.ENROL, self._desk.enrol, most=_MOST_ENROLMENTS),
            _Lane(subjects.SINCE, self._desk.since, most=_MOST_SINCE),
            _Lane(subjects.ACK, _told(self._desk.ack), most=_MOST_HEARTBEATS),
            _Lane(subjects.USED, _told(self._desk.used), most=_MOST_REPORTS),
            _Lane(subjects.OFFER, self._desk.offer, most=_MOST_OFFERS, max_bytes=_MAX_OFFER_BYTES),
        )
        return [
            Route(
                subjects.path(lane.subject),
                self._endpoint(lane),
                methods=["POST"],
                include_in_schema=False,
            )
            for lane in lanes
        ]

    def _endpoint(self, lane: _Lane) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            payload = await request.body()
            if len(payload) > lane.max_bytes:
                return problems.too_large(lane.max_bytes)
            answer = await self._answer(lane, payload)
            if not answer:
                return Response(status_code=204)
            return Response(answer, media_type=_MEDIA_TYPE, headers={"cache-control": "no-store"})

        return respond

    async def _answer(self, lane: _Lane, payload: bytes) -> bytes:
        if lane.at_once >= lane.most:
            self._metrics.unanswered(subject=lane.subject, outcome="overloaded")
            return EMPTY
        lane.at_once += 1
        try:
            answer = await lane.answer(payload)
        except MalformedMessageError as error:
            self._refuse(lane, error)
            raise HTTPException(_BAD_REQUEST, str(error)) from error
        except NotEnrolledError:
            # Nobody waits for an answer; the sender's next heartbeat is told so.
            self._metrics.unanswered(subject=lane.subject, outcome="not_enrolled")
            return EMPTY
        except RescindError:
            # Overloaded, or Postgres is away: the metrics and /readyz say why.
            self._metrics.unanswered(subject=lane.subject, outcome="unavailable")
            return EMPTY
        finally:
            lane.at_once -= 1
        if answer == ENROL_AGAIN:
            self._metrics.unanswered(subject=lane.subject, outcome="not_enrolled")
        return answer

    def _refuse(self, lane: _Lane, error: MalformedMessageError) -> None:
        """Count what is not what it claims to be; anybody can send it, so the log is spared."""
        self._metrics.unanswered(subject=lane.subject, outcome="refused")
        withheld = self._refusals.due(monotonic_raw_ns())
        if withheld is not None:
            _log.warning(
                "refused a message",
                action="message.refused",
                subject=lane.subject,
                why=str(error),
                withheld=withheld,
            )


def _told(take: Callable[[bytes], None]) -> Answer:
    """Take what nobody waits for an answer to."""

    async def answer(payload: bytes) -> bytes:
        take(payload)
        return EMPTY

    return answer
