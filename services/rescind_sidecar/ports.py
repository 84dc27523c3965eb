"""The ports of the use cases. Adapters implement them, and the wiring chooses the adapters."""

from dataclasses import dataclass
from typing import Protocol

from rescind.core.generation_table import Writer
from rescind.errors import UnreachableError
from rescind.wire import enrolment, heartbeat, lookups, recovery_offer, usage_report
from rescind.wire.signed_envelope import SignedEnvelope
from rescind.wire.trust_statement import Purpose


class UnknownInstanceError(UnreachableError):
    """Raised when the authority has no secret of this instance, or no longer has one."""

    def __init__(self) -> None:
        super().__init__("the authority wants this instance to enrol (again)")


@dataclass(frozen=True, slots=True, repr=False)
class InstanceCredentials:
    """The id of an instance, and its secret."""

    instance: bytes
    secret: bytes


class AuthorityLink(Protocol):
    """The link to the authority. Every method raises UnreachableError within its deadline.

    Requests and answers carry the instance's MAC. UnknownInstanceError means that the authority
    cannot verify that MAC.
    """

    async def enrol(self, message: enrolment.EnrolmentRequest) -> SignedEnvelope:
        """Request an instance's secret; the caller verifies the signature of the answer."""
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

    async def look_up(
        self, message: lookups.LookupRequest, credentials: InstanceCredentials
    ) -> lookups.LookupAnswer:
        """Request the record of a token; return an authority's answer to this message."""
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
    """Verify the authority's signatures, and encrypt content that only it may read."""

    @property
    def serial(self) -> int:
        """Return the number of the current trust statement."""
        ...

    @property
    def retirements(self) -> int:
        """Return how many keys that vouch for content in memory were retired since the start."""
        ...

    def problem(self) -> str | None:
        """Return why the statement cannot be relied on now, and what to do; None if it can."""
        ...

    def verify(self, purpose: Purpose, signed: SignedEnvelope) -> bool:
        """Return True if a key that is valid for this purpose signed this content."""
        ...

    def knows(self, purpose: Purpose, signed: SignedEnvelope) -> bool:
        """Return True if the key is in the newest known statement."""
        ...

    def accept(self, statement: bytes) -> bool:
        """Adopt a newer trust statement; return True if it was one."""
        ...

    def encrypt_for_authority(self, content: bytes) -> bytes:
        """Return a box with the content that only the authority can open."""
        ...


class InstanceKeyPair(Protocol):
    """The key pair of one instance."""

    @property
    def public(self) -> bytes:
        """Return the public key, whose hash is the instance id."""
        ...

    def open(self, box: bytes) -> bytes | None:
        """Return the content of a box for this instance, or None if the key does not open it."""
        ...


class InstanceKeys(Protocol):
    """The source of key pairs."""

    def fresh(self) -> InstanceKeyPair:
        """Return a new random key pair."""
        ...


class SharedRecordReader(Protocol):
    """Records that any sidecar may reuse: faster than the authority, but not trusted."""

    async def find(self, epoch: int, token_hash: bytes) -> bytes | None:
        """Return the undecoded record, or None. Never raises, and always returns soon."""
        ...


class Tables(Protocol):
    """The place of the generation table."""

    def begin(self, instance: bytes) -> Writer:
        """End the leases of the current table, and replace it with a new, empty one."""
        ...

    def retire(self) -> None:
        """End the leases of the table, and remove it."""
        ...


class BootClock(Protocol):
    """The clock CLOCK_BOOTTIME."""

    def boottime_ns(self) -> int:
        """Return nanoseconds since boot, sleep included."""
        ...


class RandomSource(Protocol):
    """A source of randomness."""

    def identity(self) -> bytes:
        """Return 16 random bytes."""
        ...

    def jitter(self) -> float:
        """Return a factor from 0.8 to 1.2, so that a fleet's heartbeats spread out."""
        ...
