"""What the use cases need from the world. Adapters implement it; only the wiring knows which."""

from dataclasses import dataclass
from typing import Protocol

from rescind.core.generation_table import Writer
from rescind.errors import UnreachableError
from rescind.wire import enrolment, heartbeat, records, recovery_offer, usage_report
from rescind.wire.signed_envelope import SignedEnvelope
from rescind.wire.trust_statement import Purpose


class UnknownInstanceError(UnreachableError):
    """Raised when the authority does not know this instance's secret (any more)."""

    def __init__(self) -> None:
        super().__init__("the authority wants this instance to enrol (again)")


@dataclass(frozen=True, slots=True, repr=False)
class InstanceCredentials:
    """Who speaks, and the secret that proves it."""

    instance: bytes
    secret: bytes


class AuthorityLink(Protocol):
    """The way to the authority. Every method raises UnreachableError within its deadline.

    Requests carry the instance's MAC, and so do answers. UnknownInstanceError means that the
    authority does not know that MAC.
    """

    async def enrol(self, message: enrolment.EnrolmentRequest) -> SignedEnvelope:
        """Request an instance's secret; the caller checks who signed the answer."""
        ...

    async def beat(
        self, message: heartbeat.Heartbeat, credentials: InstanceCredentials
    ) -> heartbeat.Reply | heartbeat.NoLease:
        """Request a lease."""
        ...

    async def acknowledge(self, message: heartbeat.Ack, credentials: InstanceCredentials) -> None:
        """Report that events are applied. There is no answer."""
        ...

    async def release(self, message: heartbeat.Release, credentials: InstanceCredentials) -> None:
        """Report that the instance has ended. There is no answer."""
        ...

    async def since(
        self, message: heartbeat.Since, credentials: InstanceCredentials
    ) -> heartbeat.Events:
        """Request missing events."""
        ...

    async def resolve(
        self, message: records.Resolve, credentials: InstanceCredentials
    ) -> records.Resolved:
        """Request the record of a token; the answer is an authority's, and to this message."""
        ...

    async def used(self, message: usage_report.Used, credentials: InstanceCredentials) -> None:
        """Report which tokens are in use. There is no answer."""
        ...

    async def offer(
        self, message: recovery_offer.Offer, credentials: InstanceCredentials
    ) -> recovery_offer.OfferAnswer:
        """Offer events that a restored ledger may have lost."""
        ...


class TrustStore(Protocol):
    """Check what the authority signed, and encrypt what only it may read."""

    @property
    def serial(self) -> int:
        """The number of the trust statement that we have."""
        ...

    @property
    def retirements(self) -> int:
        """How often a key was retired, since the start, that vouched for what is in memory."""
        ...

    def problem(self) -> str | None:
        """Return why the statement cannot be relied on now, and what to do; None: it can."""
        ...

    def verify(self, purpose: Purpose, signed: SignedEnvelope) -> bool:
        """Return True if a key that is good for this purpose signed this content."""
        ...

    def knows(self, purpose: Purpose, signed: SignedEnvelope) -> bool:
        """Return True if the key is in the newest known statement."""
        ...

    def accept(self, statement: bytes) -> bool:
        """Adopt a newer trust statement; return True if it was one."""
        ...

    def encrypt_for_authority(self, content: bytes) -> bytes:
        """Put content into a box that only the authority can open."""
        ...


class InstanceKeyPair(Protocol):
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

    def fresh(self) -> InstanceKeyPair:
        """Return a new random key pair."""
        ...


class SharedRecordReader(Protocol):
    """Records that any sidecar may reuse: quicker than the authority, and never believed."""

    async def find(self, epoch: int, token_hash: bytes) -> bytes | None:
        """Return a record as it was stored, or None. Never raises, and never takes long."""
        ...


class Tables(Protocol):
    """Where the generation table lies."""

    def begin(self, instance: bytes) -> Writer:
        """End the leases of the table that is there, and put a new, empty one in its place."""
        ...

    def retire(self) -> None:
        """End the leases of the table, and take it away."""
        ...


class BootClock(Protocol):
    """CLOCK_BOOTTIME."""

    def boottime_ns(self) -> int:
        """Return nanoseconds since boot, sleep included."""
        ...


class RandomSource(Protocol):
    """Randomness."""

    def identity(self) -> bytes:
        """Return 16 random bytes."""
        ...

    def jitter(self) -> float:
        """Return a factor around 1, so that a fleet's heartbeats spread out."""
        ...
