"""Enrolments of sidecar instances, and the credentials that bind them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Binding:
    """The limits of a credential on its sidecars; None: any posture, and the default number.

    A credential from before there were bindings has neither.
    """

    posture: str | None = None
    instances: int | None = None


@dataclass(frozen=True, slots=True)
class Enrolment:
    """An instance, the id of its credential, its service, and its most lenient posture."""

    instance: bytes
    credential: str
    service: str
    posture: str | None


@dataclass(frozen=True, slots=True)
class EnrolledInstance:
    """A known enrolment. If `silent`, its place may be taken, and the instance has to enrol again.

    `evicted` is the reason of an eviction, or None.
    """

    enrolment: Enrolment
    silent: bool = False
    evicted: str | None = None


@dataclass(frozen=True, slots=True)
class NoPlace:
    """The reason for a refused enrolment: an eviction, or the numbers of other instances."""

    evicted: str | None
    placed: int
    begun: int


@dataclass(frozen=True, slots=True)
class Evicted:
    """An instance that was evicted. Its last lease ends before `lease_ends_at_us` (Unix µs)."""

    service: str
    at_us: int
    why: str
    lease_ends_at_us: int


class Enrolments(Protocol):
    """Store the enrolments of instances."""

    async def read(self, instances: Collection[bytes]) -> Mapping[bytes, EnrolledInstance]:
        """Read enrolments; an instance without one is left out."""
        ...

    async def binding(self, credential: str) -> Binding:
        """Read the binding of a credential."""
        ...

    async def enrol(self, enrolment: Enrolment, *, most: int, most_begun: int) -> NoPlace | None:
        """Store an enrolment, or return the reason for a refusal.

        It is refused if `most` others have a place, or `most_begun` had a lease within an hour.
        """
        ...

    async def evict(self, instance: bytes, *, why: str, actor: str | None) -> Evicted | None:
        """End an instance permanently; None if it is not known. Commits before it returns."""
        ...
