"""Hear sidecars acknowledge: in memory, and in every authority, so that a waiter here counts them.

What is lost is found in the lease rows, where the next heartbeat says the same.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rescind.core.ledger import Position
from rescind.wire.heartbeat import Ack
from rescind_runtime.clock import Clock

_MOST_INSTANCES = 100_000


@dataclass(frozen=True, slots=True)
class Heard:
    """How far an instance said that its table has come, and when (CLOCK_MONOTONIC_RAW).

    `nonces` are those of the heartbeats that it sent before: where two processes have one id, they
    tell which of them it was.
    """

    applied: Position
    heard_ns: int
    nonces: tuple[bytes, ...] = ()


@dataclass(slots=True)
class Listener:
    """What was heard since somebody last looked."""

    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    instances: set[bytes] = field(default_factory=set[bytes])

    def take(self) -> set[bytes]:
        """Give the instances that were heard, and begin anew."""
        self.stirred.clear()
        taken, self.instances = self.instances, set()
        return taken


class Acknowledgements:
    """Keep the furthest acknowledgement of each instance; of too many, the oldest goes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard: OrderedDict[bytes, Heard] = OrderedDict()
        self._listeners: list[Listener] = []

    def note(self, ack: Ack) -> None:
        """Take an acknowledgement whose MAC was right."""
        known = self._heard.get(ack.instance)
        nonces = ack.trail or ()
        if known is not None:
            if known.applied.seq > ack.applied.seq:
                return
            if known.applied.seq == ack.applied.seq and known.nonces == nonces:
                return
        self._heard[ack.instance] = Heard(ack.applied, self._clock.monotonic_raw_ns(), nonces)
        self._heard.move_to_end(ack.instance)
        if len(self._heard) > _MOST_INSTANCES:
            self._heard.popitem(last=False)
        for listener in self._listeners:
            listener.instances.add(ack.instance)
            listener.stirred.set()

    def of(self, instance: bytes) -> Heard | None:
        """Give what an instance said last."""
        return self._heard.get(instance)

    @contextmanager
    def listening(self) -> Generator[Listener]:
        """Hear what comes during the block."""
        listener = Listener()
        self._listeners.append(listener)
        try:
            yield listener
        finally:
            self._listeners.remove(listener)
