"""What the use cases need from the world. Adapters implement it; only the wiring knows which."""

from dataclasses import dataclass
from typing import Protocol

from rescind.core.generations import Writer
from rescind.errors import UnreachableError
from rescind.wire import enrolment, heartbeat, offer, records, used
from rescind.wire.sealed import Sealed
from rescind.wire.trust import Purpose


class NotEnrolledError(UnreachableError):
    """Say that the authority does not know this instance's secret (any more)."""

    def __init__(self) -> None:
        super().__init__("the authority wants this instance to enrol (again)")


@dataclass(frozen=True, slots=True, repr=False)
class Voice:
    """Who speaks, and the secret that proves it."""

    instance: bytes
    secret: bytes


class Link(Protocol):
    """The way to the authority. Every method raises UnreachableError within its deadline.

    What an instance says carries its MAC, and so does what it is answered; NotEnrolledError says
    that the authority would not have it.
    """

    async def enrol(self, message: enrolment.Request) -> Sealed:
        """Ask for an instance's secret; the caller checks who signed the answer."""
        ...

    async def beat(
        self, message: heartbeat.Heartbeat, voice: Voice
    ) -> heartbeat.Reply | heartbeat.NoLease:
        """Ask for a lease."""
        ...

    async def acknowledge(self, message: heartbeat.Ack, voice: Voice) -> None:
        """Say that events are applied; nobody answers."""
        ...

    async def release(self, message: heartbeat.Release, voice: Voice) -> None:
        """Give the instance up; nobody answers."""
        ...

    async def since(self, message: heartbeat.Since, voice: Voice) -> heartbeat.Events:
        """Ask for missing events."""
        ...

    async def resolve(self, message: records.Resolve) -> records.Resolved:
        """Ask for the record of a token."""
        ...

    async def used(self, message: used.Used, voice: Voice) -> None:
        """Say which tokens are in use; nobody answers."""
        ...

    async def offer(self, message: offer.Offer, voice: Voice) -> offer.Taken:
        """Offer events that a restored ledger may have lost."""
        ...


class Notary(Protocol):
    """Check what the authority signed, and seal what only it may read."""

    @property
    def serial(self) -> int:
        """The number of the trust statement that we have."""
        ...

    def verify(self, purpose: Purpose, signed: Sealed) -> bool:
        """Say whether a key that is good for this purpose signed this content."""
        ...

    def knows(self, purpose: Purpose, signed: Sealed) -> bool:
        """Say whether the key is in the statement that we have."""
        ...

    def accept(self, statement: bytes) -> None:
        """Take a newer trust statement, if it is one."""
        ...

    def seal(self, content: bytes) -> bytes:
        """Put content into a box that only the authority can open."""
        ...


class InstanceKey(Protocol):
    """The key pair of one instance."""

    @property
    def public(self) -> bytes:
        """The public half, whose hash is the instance id."""
        ...

    def open(self, box: bytes) -> bytes | None:
        """Open a box that was sealed to this instance, or say None."""
        ...


class InstanceKeys(Protocol):
    """Where key pairs come from."""

    def fresh(self) -> InstanceKey:
        """Make one that nobody has seen."""
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
