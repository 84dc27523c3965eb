"""Instances of sidecars as they enrolled, and the credentials that bind them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Binding:
    """What a credential binds its sidecars to; None for any posture, and the default number.

    A credential from before there were bindings has neither.
    """

    posture: str | None = None
    instances: int | None = None


@dataclass(frozen=True, slots=True)
class Enrolment:
    """An instance, the id of its credential, its service, and its posture at the worst."""

    instance: bytes
    credential: str
    service: str
    posture: str | None


@dataclass(frozen=True, slots=True)
class EnrolledInstance:
    """An enrolment that is known. `silent`: its place may be another's, it has to enrol again.

    `evicted` says why, and is None for one that was not.
    """

    enrolment: Enrolment
    silent: bool = False
    evicted: str | None = None


@dataclass(frozen=True, slots=True)
class NoPlace:
    """Why an instance was not enrolled: it was evicted, or how many others there are."""

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
    """Keep which instance enrolled as what."""

    async def of(self, instances: Collection[bytes]) -> Mapping[bytes, EnrolledInstance]:
        """Read enrolments; who has none is left out."""
        ...

    async def binding(self, credential: str) -> Binding:
        """Read what a credential binds its sidecars to."""
        ...

    async def enrol(self, enrolment: Enrolment, *, most: int, most_begun: int) -> NoPlace | None:
        """Store an enrolment, unless so many others have a place, or had a lease within an hour."""
        ...

    async def evict(self, instance: bytes, *, why: str, actor: str | None) -> Evicted | None:
        """End an instance for good; None where it is not known. Commits before it returns."""
        ...
