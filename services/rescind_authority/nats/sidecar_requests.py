"""Serve requests of sidecars over NATS: heartbeats, look-ups, missing events.

Authorities share one queue group, so each request reaches one of them. A request that cannot be
answered now, or has no answer, gets an empty payload at once instead of a timeout. A look-up that
cannot be answered now gets "not now" instead. The number of requests under way is bounded for each
subject. So a flood of look-ups does not displace heartbeats.
"""

import asyncio
from collections.abc import Awaitable, Callable

from nats.aio.client import Client
from nats.aio.msg import Msg

from rescind.errors import MalformedMessageError, RescindError
from rescind.wire import events, nats_subjects, signed_envelope
from rescind.wire.heartbeat import ENROL_AGAIN
from rescind.wire.trust_statement import Purpose
from rescind_authority.errors import LookupUnavailableError, NotEnrolledError, StoreUnavailableError
from rescind_authority.ports.keys import Keys
from rescind_authority.ports.metrics import Metrics
from rescind_authority.usecases.access.refused_messages import RefusedMessages
from rescind_authority.usecases.ledger.recent_events import RecentEvents
from rescind_authority.usecases.sidecar_api import EMPTY, SidecarApi
from rescind_runtime.clock import SystemClock
from rescind_runtime.net import nats_connection

_MAX_HEARTBEATS = 8_192
_MAX_LOOKUPS = 8_192
_MAX_ENROLMENTS = 256  # each of them opens a box and reads Postgres
_MAX_SINCE = 1_024  # each of them may read Postgres
_MAX_OFFERS = 256  # each of them may be half a megabyte, and be committed

Answer = Callable[[bytes], Awaitable[bytes]]


def _refused(_: bytes) -> bytes:
    return EMPTY


class _RequestClass:
    """The handler and limit of one subject, and its number of requests under way."""

    def __init__(
        self, answer: Answer, *, most: int, refuse: Callable[[bytes], bytes] = _refused
    ) -> None:
        self.answer = answer
        self.most = most
        self.refuse = refuse
        self.under_way = 0


class Requests:
    """Turn messages into calls of the use cases."""

    def __init__(
        self, sidecar_api: SidecarApi, *, keys: Keys, recent: RecentEvents, metrics: Metrics
    ) -> None:
        self._sidecar_api = sidecar_api
        self._keys = keys
        self._recent = recent
        self._metrics = metrics
        self._refused = RefusedMessages(clock=SystemClock(), metrics=metrics)

    async def subscribe(self, client: Client, tasks: asyncio.TaskGroup) -> None:
        """Subscribe to all subjects; each request is answered in a task of the group."""
        request_classes = {
            nats_subjects.HEARTBEAT: _RequestClass(
                self._sidecar_api.heartbeat, most=_MAX_HEARTBEATS
            ),
            nats_subjects.RESOLVE: _RequestClass(
                self._sidecar_api.look_up,
                most=_MAX_LOOKUPS,
                refuse=self._sidecar_api.answer_unavailable,
            ),
            nats_subjects.ENROL: _RequestClass(self._sidecar_api.enrol, most=_MAX_ENROLMENTS),
            nats_subjects.SINCE: _RequestClass(self._sidecar_api.since, most=_MAX_SINCE),
            nats_subjects.OFFER: _RequestClass(self._sidecar_api.offer, most=_MAX_OFFERS),
        }
        for subject, kind in request_classes.items():
            await nats_connection.subscribe(
                client, subject, self._starting(kind, tasks), queue=nats_subjects.AUTHORITY_QUEUE
            )
        await nats_connection.subscribe(
            client, nats_subjects.USED, self._used, queue=nats_subjects.AUTHORITY_QUEUE
        )
        # No queue group: a waiter in any authority counts the acknowledgements itself.
        await nats_connection.subscribe(client, nats_subjects.ACK, self._ack)
        # No queue group: every authority receives the events that every other one committed.
        await nats_connection.subscribe(client, nats_subjects.EVENTS, self._receive_events)

    def _starting(self, kind: _RequestClass, tasks: asyncio.TaskGroup) -> nats_connection.Handler:
        async def start(message: Msg) -> None:
            if kind.under_way >= kind.most:
                self._metrics.unanswered(subject=message.subject, outcome="overloaded")
                await _respond(message, kind.refuse(message.data))  # full: refuse at once
                return
            kind.under_way += 1
            tasks.create_task(self._finish(message, kind))

        return start

    async def _finish(self, message: Msg, kind: _RequestClass) -> None:
        try:
            reply = await kind.answer(message.data)
        except MalformedMessageError as error:
            self._refused.count_refused(message.subject, error)
            reply = EMPTY
        except LookupUnavailableError as error:
            self._metrics.unanswered(subject=message.subject, outcome="unavailable")
            reply = error.answer
        except RescindError:
            # Overloaded, or Postgres is unavailable: the sidecar reads this as `unavailable`.
            # The metrics and /readyz report the cause.
            self._metrics.unanswered(subject=message.subject, outcome="unavailable")
            reply = EMPTY
        finally:
            kind.under_way -= 1
        if reply == ENROL_AGAIN:
            self._metrics.unanswered(subject=message.subject, outcome="not_enrolled")
        await _respond(message, reply)

    async def _used(self, message: Msg) -> None:
        try:
            self._sidecar_api.used(message.data)
        except MalformedMessageError as error:
            # The sender does not wait for an answer.
            self._refused.count_refused(message.subject, error)
        except NotEnrolledError:
            # The sender does not wait; the answer to its next heartbeat reports this.
            self._metrics.unanswered(subject=message.subject, outcome="not_enrolled")

    async def _ack(self, message: Msg) -> None:
        try:
            self._sidecar_api.ack(message.data)
        except MalformedMessageError as error:
            self._refused.count_refused(message.subject, error)
        except (NotEnrolledError, StoreUnavailableError):
            return  # the sender's heartbeats report the same

    async def _receive_events(self, message: Msg) -> None:
        try:
            signed = self._keys.verify(Purpose.EVENTS, signed_envelope.decode(message.data))
            if signed:
                self._recent.offer(events.decode_batch(message.data))
            else:
                unsigned = MalformedMessageError("batch", "no key of ours signed it")
                self._refused.count_refused(message.subject, unsigned)
        except MalformedMessageError as error:
            # Missing events are read from Postgres.
            self._refused.count_refused(message.subject, error)


async def _respond(message: Msg, reply: bytes) -> None:
    if not message.reply:
        return
    try:
        await message.respond(reply)
    except nats_connection.UNREACHABLE_ERRORS:
        return  # the connection was lost: the sidecar asks again
