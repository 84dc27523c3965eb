"""The current instance of this process: its id, table and view, always replaced together."""

from collections import deque
from dataclasses import dataclass, field, replace

import structlog

from rescind.core.ledger import Position
from rescind.wire.enrolment import instance_of
from rescind.wire.heartbeat import MAX_TRAIL, Trail
from rescind_sidecar.ports import InstanceCredentials, InstanceKeyPair, InstanceKeys, Tables
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.view.authority_clock import AuthorityTime
from rescind_sidecar.view.negative_cache import NegativeCache
from rescind_sidecar.view.record_cache import CAPACITY
from rescind_sidecar.view.view import View

_MAX_ANSWERED = 4

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class Numbers:
    """Number the messages of an instance; `last` is the highest number so far."""

    def __init__(self) -> None:
        self.last = 0

    def __next__(self) -> int:
        self.last += 1
        return self.last


@dataclass(frozen=True, slots=True)
class Attempt:
    """A nonce for the request of a lease, and the trail of the nonces before it.

    `since_ns` (CLOCK_BOOTTIME) is when the nonce was first used, and `applied` is the position
    applied then. A lease counts from there, because the answer may belong to that first request.
    """

    nonce: bytes
    trail: Trail
    since_ns: int
    applied: Position | None
    fresh: bool = True


class Attempts:
    """Store the nonces of the latest heartbeats: the last answered ones, and all after them.

    They always include the nonce that the authority accepted last. If no answer arrives for a long
    time, the last nonce is used again, so that the number of nonces is bounded.
    """

    def __init__(self) -> None:
        self._answered: deque[bytes] = deque(maxlen=_MAX_ANSWERED)
        self._unanswered: list[bytes] = []
        self._last: Attempt | None = None

    @property
    def trail(self) -> Trail:
        """Return the stored nonces."""
        return (*self._answered, *self._unanswered)

    def begin(self, nonce: bytes, *, now_ns: int, applied: Position | None) -> Attempt:
        """Return the next attempt, with this nonce if there is room for one more."""
        last = self._last
        if last is not None and len(self._unanswered) >= MAX_TRAIL - _MAX_ANSWERED:
            return replace(last, trail=self.trail, fresh=False)
        self._last = Attempt(nonce, self.trail, now_ns, applied)
        self._unanswered.append(nonce)
        return self._last

    def answered(self, attempt: Attempt) -> None:
        """Record that an attempt brought a lease."""
        self._answered.append(attempt.nonce)
        self._unanswered.clear()


@dataclass(slots=True)
class SidecarInstance:
    """One instance. `counter` numbers its messages, so that an old message changes nothing.

    `credentials`, `epoch` and `edge_keys` come with the enrolment. Before the enrolment, the
    instance sends nothing and has no records.
    `refused` is the reason why the last enrolment was refused; None if it was not refused.
    """

    instance: bytes
    key: InstanceKeyPair
    view: View
    credentials: InstanceCredentials | None = None
    epoch: int | None = None
    edge_keys: tuple[bytes, ...] = ()
    refused: str | None = None
    negative_cache: NegativeCache = field(default_factory=NegativeCache)
    counter: Numbers = field(default_factory=Numbers)
    attempts: Attempts = field(default_factory=Attempts)


class SidecarInstances:
    """Store the current instance, and replace it when its ledger or its id has changed."""

    def __init__(
        self,
        tables: Tables,
        keys: InstanceKeys,
        tally: Counters,
        *,
        records_capacity: int = CAPACITY,
    ) -> None:
        self._tables = tables
        self._keys = keys
        self._tally = tally
        self._records_capacity = records_capacity
        self.current = self._begin()

    def _begin(self, time: AuthorityTime | None = None) -> SidecarInstance:
        key = self._keys.fresh()
        instance = instance_of(key.public)
        table = self._tables.begin(instance)
        view = View(table, records_capacity=self._records_capacity, time=time)
        return SidecarInstance(instance, key, view)

    def begin_anew(self, why: str) -> None:
        """End the instance, and begin a new one: its lease, records and table become invalid.

        The bounds of the authority's time are kept, because another server's clock may be behind.
        """
        ended = self.current
        self.current = self._begin(ended.view.time)
        self._tally.instances_ended += 1
        _log.error(
            "this instance cannot go on; began anew with nothing in memory",
            action="diverged",
            why=why,
            ended=ended.instance.hex(),
            instance=self.current.instance.hex(),
        )
