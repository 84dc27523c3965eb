"""What the use cases need from the world. Adapters implement it; only the wiring knows which."""

from typing import Protocol

from rescind.core.generations import Writer
from rescind.wire import heartbeat, records, used


class Link(Protocol):
    """The way to the authority. Every method raises UnreachableError within its deadline."""

    async def beat(self, message: heartbeat.Heartbeat) -> heartbeat.Reply:
        """Ask for a lease."""
        ...

    async def acknowledge(self, message: heartbeat.Ack) -> None:
        """Say that events are applied; nobody answers."""
        ...

    async def release(self, message: heartbeat.Release) -> None:
        """Give the instance up; nobody answers."""
        ...

    async def since(self, message: heartbeat.Since) -> heartbeat.Events:
        """Ask for missing events."""
        ...

    async def resolve(self, message: records.Resolve) -> records.Resolved:
        """Ask for the record of a token."""
        ...

    async def used(self, message: used.Used) -> None:
        """Say which tokens are in use; nobody answers."""
        ...


class SharedRecords(Protocol):
    """Records that any sidecar may reuse: quicker than the authority, and never believed."""

    async def find(self, epoch: int, token_hash: bytes) -> bytes | None:
        """Give a record as somebody left it, or None. Never raises, and never takes long."""
        ...


class Tables(Protocol):
    """Where the generation table lies."""

    def begin(self, instance: bytes) -> Writer:
        """End the leases of the table that is there, and put a new, empty one in its place."""
        ...

    def retire(self) -> None:
        """End the leases of the table, and take it away."""
        ...


class Clock(Protocol):
    """CLOCK_BOOTTIME."""

    def boottime_ns(self) -> int:
        """Give nanoseconds since boot, sleep included."""
        ...


class Dice(Protocol):
    """Randomness."""

    def identity(self) -> bytes:
        """Give 16 bytes that nobody has seen before."""
        ...

    def jitter(self) -> float:
        """Give a factor around 1, so that a fleet does not beat in step."""
        ...
