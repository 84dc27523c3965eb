"""Grant leases: who may answer from memory, and up to which event (design 7).

In this order, which Theorem 2 rests on: (G1) commit the lease rows; (G2) then, in a new snapshot,
read the ledger's end; (G3) then reply. Read before the rows are committed, the end could lie
before a revocation whose waiter has already read the rows, and has not seen this one.
"""

from collections.abc import Sequence

from rescind.wire.heartbeat import Heartbeat, Release, Reply
from rescind_authority.metrics import Metrics
from rescind_authority.ports import Leases, Ledger, Standing
from rescind_authority.usecases.batching import Batcher
from rescind_authority.usecases.recent import Recent

_MAX_BATCH = 500
_CAPACITY = 8_192


class Granter:
    """Answer heartbeats, in batches."""

    def __init__(self, leases: Leases, *, ledger: Ledger, recent: Recent, metrics: Metrics) -> None:
        self._leases = leases
        self._ledger = ledger
        self._recent = recent
        self._metrics = metrics
        self._batcher = Batcher[Heartbeat | Release, Reply | None](
            self._answer, most=_MAX_BATCH, capacity=_CAPACITY, what="heartbeats"
        )

    async def run(self) -> None:
        """Work until cancelled."""
        await self._batcher.run()

    async def answer(self, message: Heartbeat | Release) -> Reply | None:
        """Reply with a lease, or None: to a release, to a stale counter, to a released instance."""
        return await self._batcher.ask(message)

    async def _answer(self, messages: Sequence[Heartbeat | Release]) -> Sequence[Reply | None]:
        releases = {
            message.instance: message for message in messages if isinstance(message, Release)
        }
        newest = _newest(messages)
        # G1. Releases first: an instance that gave up gets nothing any more, in this batch either.
        if releases:
            await self._leases.release([releases[instance] for instance in sorted(releases)])
        counted = frozenset[bytes]()
        if newest:
            counted = await self._leases.beat([newest[instance] for instance in sorted(newest)])
        # G2, after the commit above returned, so in a snapshot that no waiter's can precede.
        # A row that did not change earns no lease: a waiter may be watching it stand still.
        standing = await self._ledger.standing() if counted else None
        replies: list[Reply | None] = []
        for message in messages:
            granted = (
                isinstance(message, Heartbeat)
                and message.instance in counted
                and newest[message.instance] is message
            )
            replies.append(
                await self._reply(message, standing)
                if granted and standing is not None and isinstance(message, Heartbeat)
                else None
            )
        given = sum(reply is not None for reply in replies)
        beats = sum(isinstance(message, Heartbeat) for message in messages)
        self._metrics.heartbeats(granted=given, refused=beats - given)
        return replies

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


def _newest(messages: Sequence[Heartbeat | Release]) -> dict[bytes, Heartbeat]:
    """Keep the heartbeat with the highest counter of each instance; the others are stale."""
    newest: dict[bytes, Heartbeat] = {}
    for message in messages:
        if isinstance(message, Heartbeat):
            known = newest.get(message.instance)
            if known is None or message.counter > known.counter:
                newest[message.instance] = message
    return newest
