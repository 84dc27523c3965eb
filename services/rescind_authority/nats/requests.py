"""Answer what sidecars ask over NATS: heartbeats, look-ups, missing events.

Authorities share one queue group, so each request reaches one of them. A request that cannot be
answered now, or has no answer, gets an empty payload at once instead of a timeout. Of each subject
so many are under way at once, so that no flood of look-ups takes the place of heartbeats.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from rescind.errors import MalformedMessageError, RescindError
from rescind.wire import events, sealed, subjects
from rescind.wire.heartbeat import ENROL_AGAIN
from rescind.wire.trust import Purpose
from rescind_authority.errors import NotEnrolledError, StoreUnavailableError
from rescind_authority.metrics import Metrics
from rescind_authority.ports.keys import Keys
from rescind_authority.usecases.desk import EMPTY, Desk
from rescind_authority.usecases.recent import Recent
from rescind_runtime import bus
from rescind_runtime.clock import monotonic_raw_ns
from rescind_runtime.seldom import Seldom

_MOST_HEARTBEATS = 8_192
_MOST_LOOKS = 8_192
_MOST_ENROLMENTS = 256  # each of them opens a box and reads Postgres
_MOST_SINCE = 1_024  # each of them may read Postgres
_MOST_OFFERS = 256  # each of them may be half a megabyte, and be committed

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()

Answer = Callable[[bytes], Awaitable[bytes]]


class _Lane:
    """How one subject is answered, and how many of its requests are under way."""

    def __init__(self, answer: Answer, *, most: int) -> None:
        self.answer = answer
        self.most = most
        self.at_once = 0


class Requests:
    """Turn messages into calls of the use cases."""

    def __init__(self, desk: Desk, *, keys: Keys, recent: Recent, metrics: Metrics) -> None:
        self._desk = desk
        self._keys = keys
        self._recent = recent
        self._metrics = metrics
        self._refusals = Seldom()

    async def subscribe(self, client: Client, tasks: asyncio.TaskGroup) -> None:
        """Listen; each request is answered in a task of the group."""
        lanes = {
            subjects.HEARTBEAT: _Lane(self._desk.heartbeat, most=_MOST_HEARTBEATS),
            subjects.RESOLVE: _Lane(self._desk.resolve, most=_MOST_LOOKS),
            subjects.ENROL: _Lane(self._desk.enrol, most=_MOST_ENROLMENTS),
            subjects.SINCE: _Lane(self._desk.since, most=_MOST_SINCE),
            subjects.OFFER: _Lane(self._desk.offer, most=_MOST_OFFERS),
        }
        for subject, lane in lanes.items():
            await bus.subscribe(
                client, subject, self._starting(lane, tasks), queue=subjects.AUTHORITY_QUEUE
            )
        await bus.subscribe(client, subjects.USED, self._used, queue=subjects.AUTHORITY_QUEUE)
        # No queue group: each waiter counts for itself, in whichever authority it waits.
        await bus.subscribe(client, subjects.ACK, self._ack)
        # No queue group: every authority hears what every other one committed.
        await bus.subscribe(client, subjects.EVENTS, self._hear)

    def _starting(self, lane: _Lane, tasks: asyncio.TaskGroup) -> bus.Handler:
        async def start(message: Msg) -> None:
            if lane.at_once >= lane.most:
                self._metrics.unanswered(subject=message.subject, outcome="overloaded")
                await _respond(message, EMPTY)  # full: refuse at once
                return
            lane.at_once += 1
            tasks.create_task(self._finish(message, lane))

        return start

    async def _finish(self, message: Msg, lane: _Lane) -> None:
        try:
            reply = await lane.answer(message.data)
        except MalformedMessageError as error:
            self._refuse(message, error)
            reply = EMPTY
        except RescindError:
            # Overloaded, or Postgres is away: the sidecar reads this as `unavailable`, and the
            # metrics and /readyz say why.
            self._metrics.unanswered(subject=message.subject, outcome="unavailable")
            reply = EMPTY
        finally:
            lane.at_once -= 1
        if reply == ENROL_AGAIN:
            self._metrics.unanswered(subject=message.subject, outcome="not_enrolled")
        await _respond(message, reply)

    def _refuse(self, message: Msg, error: MalformedMessageError) -> None:
        """Count what is not what it claims to be; anybody can send it, so the log is spared."""
        self._metrics.unanswered(subject=message.subject, outcome="refused")
        withheld = self._refusals.due(monotonic_raw_ns())
        if withheld is not None:
            _log.warning(
                "refused a message",
                action="message.refused",
                subject=message.subject,
                why=str(error),
                withheld=withheld,
            )

    async def _used(self, message: Msg) -> None:
        try:
            self._desk.used(message.data)
        except MalformedMessageError as error:
            self._refuse(message, error)  # nobody waits for an answer
        except NotEnrolledError:
            # Nobody waits for an answer; its next heartbeat is told so.
            self._metrics.unanswered(subject=message.subject, outcome="not_enrolled")

    async def _ack(self, message: Msg) -> None:
        try:
            self._desk.ack(message.data)
        except MalformedMessageError as error:
            self._refuse(message, error)
        except (NotEnrolledError, StoreUnavailableError):
            return  # its heartbeats say the same

    async def _hear(self, message: Msg) -> None:
        try:
            signed = self._keys.verify(Purpose.EVENTS, sealed.decode(message.data))
            if signed:
                self._recent.offer(events.decode_batch(message.data))
            else:
                self._refuse(message, MalformedMessageError("batch", "no key of ours signed it"))
        except MalformedMessageError as error:
            self._refuse(message, error)  # what is missing is read from Postgres


async def _respond(message: Msg, reply: bytes) -> None:
    if not message.reply:
        return
    try:
        await message.respond(reply)
    except bus.AWAY:
        return  # the connection went: the sidecar asks again
