"""Grant leases: the right of instances to answer from memory, up to a position (design 7).

Theorem 2 depends on this order: (G1) commit the lease rows; (G2) then, in a new snapshot of the
same server, read the ledger's end; (G3) then reply. If the end were read before the commit of the
rows, it could be before a revocation whose waiter had already read the rows without this one. If
the end were read on another server, such as an old primary that still answers, it could be before a
receipt. So G1 and G2 are one operation of the port.
"""

from collections.abc import Collection, Sequence

import structlog

from rescind.core.ledger import Position
from rescind.errors import MalformedMessageError
from rescind.wire.codec import MAX_ORDINAL
from rescind.wire.heartbeat import Heartbeat, NoLease, Release, Reply
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.leases import LeaseStore
from rescind_authority.ports.ledger import LedgerTip
from rescind_authority.ports.metrics import Metrics
from rescind_authority.usecases.ledger.batcher import Batcher
from rescind_authority.usecases.ledger.recent_events import RecentEvents
from rescind_runtime.log_throttle import LogThrottle

_MAX_BATCH = 500
_CAPACITY = 8_192
_MAX_TEXT = 256

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class Granter:
    """Process heartbeats in batches."""

    def __init__(
        self, leases: LeaseStore, *, recent: RecentEvents, clock: Clock, metrics: Metrics
    ) -> None:
        self._leases = leases
        self._recent = recent
        self._clock = clock
        self._metrics = metrics
        self._batcher = Batcher[Heartbeat | Release, Reply | NoLease | None](
            self._answer_batch, most=_MAX_BATCH, capacity=_CAPACITY, what="heartbeats"
        )
        self._ends_us: dict[bytes, int] = {}
        self._latest_us = 0
        self._set_back_throttle = LogThrottle()

    async def run(self) -> None:
        """Process batches of heartbeats, until cancelled."""
        await self._batcher.run()

    @property
    def leases(self) -> int:
        """Return the number of leases of this process that may still be valid."""
        return sum(ends_us > self._latest_us for ends_us in self._ends_us.values())

    async def answer(self, message: Heartbeat | Release) -> Reply | NoLease | None:
        """Return a lease, or the reason why there is none.

        Return None for a release or a repeated heartbeat, and to a sidecar that is too old to
        decode the reason. Raises MalformedMessageError for values that no row can store: one of
        them would make Postgres refuse the whole batch.
        """
        _validate(message)
        return await self._batcher.submit(message)

    async def _answer_batch(
        self, messages: Sequence[Heartbeat | Release]
    ) -> Sequence[Reply | NoLease | None]:
        releases = {
            message.instance: message for message in messages if isinstance(message, Release)
        }
        newest = _newest_heartbeats(messages)
        # Releases first: an instance that was released gets no lease any more, in this batch
        # either.
        if releases:
            await self._leases.release([releases[instance] for instance in sorted(releases)])
            for instance in releases:
                _log.info(
                    "a sidecar released its lease", action="sidecar.left", instance=instance.hex()
                )
        replies: dict[bytes, Reply] = {}
        ahead = frozenset[bytes]()
        if newest:
            # G1 and G2: the end comes from a snapshot that no waiter's can precede.
            # A row that did not change gets no lease: a waiter may count how long it is unchanged.
            committed = await self._leases.beat([newest[instance] for instance in sorted(newest)])
            ahead = self._find_ahead(newest.values(), committed.tip)
            for instance in committed.counted:
                replies[instance] = await self._build_reply(newest[instance], committed.tip)
            self._record_leases(committed.counted, committed.tip)
        granted = {id(newest[instance]): reply for instance, reply in replies.items()}
        rest = [
            message
            for message in messages
            if isinstance(message, Heartbeat) and id(message) not in granted
        ]
        self._metrics.heartbeats(granted=len(replies), refused=len(rest))
        refused = await self._refuse(rest, ahead)
        return [granted.get(id(message)) or refused.get(id(message)) for message in messages]

    async def _refuse(
        self, heartbeats: Sequence[Heartbeat], ahead: Collection[bytes]
    ) -> dict[int, NoLease]:
        """Return why these heartbeats did not count, and end the ids that two processes share.

        An instance that is ahead of a restored ledger looks shared as well, because its row in the
        backup is older than the nonces in its heartbeat. So that is not reported as a copy.
        """
        if not heartbeats:
            return {}
        answers: dict[int, NoLease] = {}
        refusals = await self._leases.refuse(heartbeats)
        for message, refused in zip(heartbeats, refusals, strict=True):
            if refused is None:
                continue
            if refused.shared and message.instance not in ahead:
                _log.error(
                    "two processes have one instance id: a sidecar was copied with its memory. "
                    "Both enrol again; receipts wait until their leases have lapsed",
                    action="sidecar.shared",
                    instance=message.instance.hex(),
                    service=message.service,
                )
            if message.trail is not None and (refused.over or not refused.repeated):
                answers[id(message)] = NoLease(
                    message.instance, message.nonce, refused.counter, refused.over
                )
        return answers

    def _find_ahead(self, heartbeats: Collection[Heartbeat], tip: LedgerTip) -> frozenset[bytes]:
        """Return and report the instances that have applied events which are not in the ledger.

        Such an instance shows that the ledger was set back, because its head proves what it
        applied. The sidecar ends its own instance at the reply. The ledger needs a new epoch, which
        only an operator can begin, because the old primary has to be fenced first (design 4).
        """
        end = tip.position
        ahead = {
            beat.instance: beat.applied
            for beat in heartbeats
            if beat.applied and _is_ahead(beat.applied, end)
        }
        if not ahead:
            return frozenset()
        self._metrics.set_back(len(ahead))
        withheld = self._set_back_throttle.due(self._clock.monotonic_raw_ns())
        if withheld is not None:
            _log.error(
                "the ledger was set back: sidecars have applied events that are not in it. "
                "After a restore, fence the old primary and run `rescind ledger new-epoch`",
                action="ledger.set_back",
                applied=max(position.seq for position in ahead.values()),
                seq=end.seq,
                withheld=withheld,
            )
        return frozenset(ahead)

    def _record_leases(self, instances: Collection[bytes], tip: LedgerTip) -> None:
        for instance in instances:
            if instance not in self._ends_us:
                _log.info("a sidecar has a lease", action="sidecar.joined", instance=instance.hex())
        self._latest_us = tip.at_us
        ends_us = tip.at_us + tip.grant_term_ms * 1000
        self._ends_us.update(dict.fromkeys(instances, ends_us))
        if len(self._ends_us) > 2 * self.leases:
            self._ends_us = {
                instance: ends for instance, ends in self._ends_us.items() if ends > tip.at_us
            }

    async def _build_reply(self, heartbeat: Heartbeat, tip: LedgerTip) -> Reply:
        return Reply(
            instance=heartbeat.instance,
            nonce=heartbeat.nonce,
            position=tip.position,
            grant_term_ms=tip.grant_term_ms,
            authority_us=tip.at_us,
            payloads=await self._missing_events(heartbeat, tip),
        )

    async def _missing_events(self, heartbeat: Heartbeat, tip: LedgerTip) -> tuple[bytes, ...]:
        """Return the events that the sidecar has not applied.

        There are at most 256, and none is after the lease's position.
        """
        applied, position = heartbeat.applied, tip.position
        if applied is None or applied.epoch != position.epoch or applied.seq >= position.seq:
            return ()
        event_range = await self._recent.read(applied.seq)
        return event_range.payloads[: position.seq - applied.seq]


def _is_ahead(applied: Position, end: Position) -> bool:
    """Return True if a sidecar applied events that the ledger does not contain.

    The ledger ends at `end`.
    """
    if applied.epoch != end.epoch:
        return False
    return applied.seq > end.seq or (applied.seq == end.seq and applied.head != end.head)


def _newest_heartbeats(messages: Sequence[Heartbeat | Release]) -> dict[bytes, Heartbeat]:
    """Keep the heartbeat with the highest counter of each instance; the others are stale."""
    newest: dict[bytes, Heartbeat] = {}
    for message in messages:
        if isinstance(message, Heartbeat):
            known = newest.get(message.instance)
            if known is None or message.counter > known.counter:
                newest[message.instance] = message
    return newest


def _validate(message: Heartbeat | Release) -> None:
    numbers, texts = [message.counter], list[str]()
    if isinstance(message, Heartbeat):
        texts = [message.service, message.host, message.version, message.posture]
        numbers.append(message.trust_serial or 0)
        if message.applied is not None:
            numbers += [message.applied.epoch, message.applied.seq]
    if any(number > MAX_ORDINAL for number in numbers):
        raise MalformedMessageError("heartbeat", "a number over 2^62")
    if any(len(text) > _MAX_TEXT or not text.isprintable() for text in texts):
        raise MalformedMessageError(
            "heartbeat", f"a text that is not printable or over {_MAX_TEXT}"
        )
