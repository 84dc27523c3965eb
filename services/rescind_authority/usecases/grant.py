"""Grant leases: who may answer from memory, and up to which event (design 7).

In this order, which Theorem 2 rests on: (G1) commit the lease rows; (G2) then, in a new snapshot
of the same server, read the ledger's end; (G3) then reply. Read before the rows are committed, the
end could lie before a revocation whose waiter has already read the rows, and has not seen this one.
Read on another server, such as an old primary that still answers, it could lie before a receipt. So
G1 and G2 are one operation of the port.
"""

from collections.abc import Collection, Sequence

import structlog

from rescind.core.ledger import Position
from rescind.errors import MalformedMessageError
from rescind.wire.heartbeat import Heartbeat, NoLease, Release, Reply
from rescind_authority.metrics import Metrics
from rescind_authority.ports.leases import Leases
from rescind_authority.ports.ledger import Standing
from rescind_authority.usecases.batching import Batcher
from rescind_authority.usecases.recent import Recent
from rescind_runtime.clock import monotonic_raw_ns
from rescind_runtime.seldom import Seldom

_MAX_BATCH = 500
_CAPACITY = 8_192
_MAX_NUMBER = (1 << 63) - 1  # bigint
_MAX_TEXT = 256

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class Granter:
    """Answer heartbeats, in batches."""

    def __init__(self, leases: Leases, *, recent: Recent, metrics: Metrics) -> None:
        self._leases = leases
        self._recent = recent
        self._metrics = metrics
        self._batcher = Batcher[Heartbeat | Release, Reply | NoLease | None](
            self._answer, most=_MAX_BATCH, capacity=_CAPACITY, what="heartbeats"
        )
        self._ends_us: dict[bytes, int] = {}
        self._latest_us = 0
        self._set_back = Seldom()

    async def run(self) -> None:
        """Work until cancelled."""
        await self._batcher.run()

    @property
    def leases(self) -> int:
        """How many leases of this process may still be valid."""
        return sum(ends_us > self._latest_us for ends_us in self._ends_us.values())

    async def answer(self, message: Heartbeat | Release) -> Reply | NoLease | None:
        """Reply with a lease, or why there is none; or None, to a release or a repeated heartbeat.

        A sidecar that is too old to read why there is none gets None, too.

        Raises MalformedMessageError for what no row can hold: in a batch it would refuse all.
        """
        _check(message)
        return await self._batcher.ask(message)

    async def _answer(
        self, messages: Sequence[Heartbeat | Release]
    ) -> Sequence[Reply | NoLease | None]:
        releases = {
            message.instance: message for message in messages if isinstance(message, Release)
        }
        newest = _newest(messages)
        # Releases first: an instance that gave up gets nothing any more, in this batch either.
        if releases:
            await self._leases.release([releases[instance] for instance in sorted(releases)])
            for instance in releases:
                _log.info("a sidecar gave up", action="sidecar.left", instance=instance.hex())
        replies: dict[bytes, Reply] = {}
        if newest:
            # G1 and G2: the end comes from a snapshot that no waiter's can precede.
            # A row that did not change earns no lease: a waiter may be watching it stand still.
            beaten = await self._leases.beat([newest[instance] for instance in sorted(newest)])
            self._compare([newest[instance] for instance in beaten.counted], beaten.standing)
            for instance in beaten.counted:
                replies[instance] = await self._reply(newest[instance], beaten.standing)
            self._note(beaten.counted, beaten.standing)
        granted = {id(newest[instance]): reply for instance, reply in replies.items()}
        rest = [
            message
            for message in messages
            if isinstance(message, Heartbeat) and id(message) not in granted
        ]
        self._metrics.heartbeats(granted=len(replies), refused=len(rest))
        refused = await self._refuse(rest)
        return [granted.get(id(message)) or refused.get(id(message)) for message in messages]

    async def _refuse(self, heartbeats: Sequence[Heartbeat]) -> dict[int, NoLease]:
        """Return why these did not count, and end the ids that they show to be shared by two."""
        if not heartbeats:
            return {}
        answers: dict[int, NoLease] = {}
        refusals = await self._leases.refuse(heartbeats)
        for message, refused in zip(heartbeats, refusals, strict=True):
            if refused is None:
                continue
            if refused.shared:
                _log.error(
                    "two processes have one instance id: a sidecar was copied with its memory. "
                    "Both begin anew; receipts wait until their leases have lapsed",
                    action="sidecar.shared",
                    instance=message.instance.hex(),
                    service=message.service,
                )
            if message.trail is not None and (refused.over or not refused.repeated):
                answers[id(message)] = NoLease(
                    message.instance, message.nonce, refused.counter, refused.over
                )
        return answers

    def _compare(self, heartbeats: Collection[Heartbeat], standing: Standing) -> None:
        """Notice a ledger that was set back: a sidecar proves by its head what it has applied.

        It ends its own instance at the reply; the ledger needs a new epoch, which only an operator
        can begin, for the old primary has to be fenced first (design 4).
        """
        end = standing.position
        ahead = [beat.applied for beat in heartbeats if beat.applied and _ahead(beat.applied, end)]
        if not ahead:
            return
        self._metrics.set_back(len(ahead))
        withheld = self._set_back.due(monotonic_raw_ns())
        if withheld is not None:
            _log.error(
                "the ledger was set back: sidecars have applied events that are not in it. "
                "After a restore, fence the old primary and run `rescind ledger new-epoch`",
                action="ledger.set_back",
                applied=max(position.seq for position in ahead),
                seq=end.seq,
                withheld=withheld,
            )

    def _note(self, instances: Collection[bytes], standing: Standing) -> None:
        for instance in instances:
            if instance not in self._ends_us:
                _log.info("a sidecar has a lease", action="sidecar.joined", instance=instance.hex())
        self._latest_us = standing.at_us
        ends_us = standing.at_us + standing.grant_term_ms * 1000
        self._ends_us.update(dict.fromkeys(instances, ends_us))
        if len(self._ends_us) > 2 * self.leases:
            self._ends_us = {
                instance: ends for instance, ends in self._ends_us.items() if ends > standing.at_us
            }

    async def _reply(self, heartbeat: Heartbeat, standing: Standing) -> Reply:
        return Reply(
            instance=heartbeat.instance,
            nonce=heartbeat.nonce,
            position=standing.position,
            grant_term_ms=standing.grant_term_ms,
            authority_us=standing.at_us,
            payloads=await self._missing(heartbeat, standing),
        )

    async def _missing(self, heartbeat: Heartbeat, standing: Standing) -> tuple[bytes, ...]:
        """Give what the sidecar has not applied, up to 256 events and to the lease's position."""
        applied, position = heartbeat.applied, standing.position
        if applied is None or applied.epoch != position.epoch or applied.seq >= position.seq:
            return ()
        passage = await self._recent.read(applied.seq)
        return passage.payloads[: position.seq - applied.seq]


def _ahead(applied: Position, end: Position) -> bool:
    """Say whether somebody has applied what a ledger that ends here does not hold."""
    if applied.epoch != end.epoch:
        return False
    return applied.seq > end.seq or (applied.seq == end.seq and applied.head != end.head)


def _newest(messages: Sequence[Heartbeat | Release]) -> dict[bytes, Heartbeat]:
    """Keep the heartbeat with the highest counter of each instance; the others are stale."""
    newest: dict[bytes, Heartbeat] = {}
    for message in messages:
        if isinstance(message, Heartbeat):
            known = newest.get(message.instance)
            if known is None or message.counter > known.counter:
                newest[message.instance] = message
    return newest


def _check(message: Heartbeat | Release) -> None:
    numbers, texts = [message.counter], list[str]()
    if isinstance(message, Heartbeat):
        texts = [message.service, message.host, message.version, message.posture]
        if message.applied is not None:
            numbers += [message.applied.epoch, message.applied.seq]
    if any(number > _MAX_NUMBER for number in numbers):
        raise MalformedMessageError("heartbeat", "a number over 2^63 - 1")
    if any(len(text) > _MAX_TEXT or not text.isprintable() for text in texts):
        raise MalformedMessageError(
            "heartbeat", f"a text that is not printable or over {_MAX_TEXT}"
        )
