"""Record acknowledgements of sidecars in memory.

Every authority records them, so that the waits of its process can count them. If an acknowledgement
is lost, the next heartbeat repeats it in the lease rows.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rescind.core.ledger import Position
from rescind.wire.heartbeat import Ack
from rescind_authority.ports.clock import Clock

_MAX_INSTANCES = 100_000


@dataclass(frozen=True, slots=True)
class AcknowledgedPosition:
    """The position that an instance acknowledged, and when the acknowledgement arrived.

    `received_ns` is CLOCK_MONOTONIC_RAW. `nonces` are those of the heartbeats that the sender sent
    before. If two processes have one id, the nonces identify the sender.
    """

    applied: Position
    received_ns: int
    nonces: tuple[bytes, ...] = ()


@dataclass(slots=True)
class AcknowledgementInbox:
    """The instances whose acknowledgements arrived since the last `drain`."""

    notified: asyncio.Event = field(default_factory=asyncio.Event)
    instances: set[bytes] = field(default_factory=set[bytes])

    def drain(self) -> set[bytes]:
        """Return the collected instances, and clear the inbox."""
        self.notified.clear()
        taken, self.instances = self.instances, set()
        return taken


class Acknowledgements:
    """Store the acknowledgement with the highest seq of each instance.

    Above `_MAX_INSTANCES`, drop the oldest.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._received: OrderedDict[bytes, AcknowledgedPosition] = OrderedDict()
        self._listeners: list[AcknowledgementInbox] = []

    def record(self, ack: Ack) -> None:
        """Store an acknowledgement whose MAC was verified."""
        known = self._received.get(ack.instance)
        nonces = ack.trail or ()
        if known is not None:
            if known.applied.seq > ack.applied.seq:
                return
            if known.applied.seq == ack.applied.seq and known.nonces == nonces:
                return
        self._received[ack.instance] = AcknowledgedPosition(
            ack.applied, self._clock.monotonic_raw_ns(), nonces
        )
        self._received.move_to_end(ack.instance)
        if len(self._received) > _MAX_INSTANCES:
            self._received.popitem(last=False)
        for listener in self._listeners:
            listener.instances.add(ack.instance)
            listener.notified.set()

    def latest(self, instance: bytes) -> AcknowledgedPosition | None:
        """Return the stored acknowledgement of an instance, or None."""
        return self._received.get(instance)

    @contextmanager
    def listening(self) -> Generator[AcknowledgementInbox]:
        """Yield an inbox that collects acknowledgements during the block."""
        listener = AcknowledgementInbox()
        self._listeners.append(listener)
        try:
            yield listener
        finally:
            self._listeners.remove(listener)
