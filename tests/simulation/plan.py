"""The plan of a run: its faults and their times, drawn from the seed before the run starts."""

from dataclasses import dataclass
from enum import Enum, auto
from random import Random

from tests.simulation.network import LinkQuality, Nats

ENDS_S = 6.0
SIDECARS, AUTHORITIES = 3, 2


class Fault(Enum):
    """A temporary fault."""

    WEATHER = auto()
    CUT = auto()
    DEAF = auto()
    MUTE = auto()
    LIMP = auto()
    PAUSE_SIDECAR = auto()
    PAUSE_AUTHORITY = auto()
    CRASH_SIDECAR = auto()
    STOP_SIDECAR = auto()
    CRASH_AUTHORITY = auto()
    POSTGRES_AWAY = auto()
    RESTORE = auto()
    TERM = auto()
    FAILOVER = auto()


class Lasting(Enum):
    """A fault that remains until the end of the run."""

    NOTHING = auto()
    CUT = auto()
    DEAF = auto()
    MUTE = auto()
    DEAD_SIDECAR = auto()
    DEAD_AUTHORITY = auto()


@dataclass(frozen=True, slots=True)
class ScheduledFault:
    """A fault, its start and duration in seconds, and the number of the affected part."""

    fault: Fault
    at_s: float
    for_s: float
    which: int
    quality: LinkQuality


@dataclass(frozen=True, slots=True)
class Outage:
    """A disconnection of some sidecars from NATS: its kind, start and duration in seconds."""

    nats: Nats
    at_s: float
    for_s: float
    sidecars: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of one run: clock rates, postures and faults."""

    seed: int
    sidecar_rates: tuple[float, ...]
    authority_rates: tuple[float, ...]
    postures: tuple[str, ...]
    faults: tuple[ScheduledFault, ...]
    lasting: Lasting
    outages: tuple[Outage, ...] = ()

    @property
    def quiet(self) -> bool:
        """Whether the run has no fault except outages of NATS."""
        return not self.faults

    @property
    def lives_on(self) -> bool:
        """Whether the run also checks the recovery, which takes longer: every third run does."""
        return self.seed % 3 == 0


def draw(seed: int) -> Plan:
    """Draw a plan. Sidecars' clocks are at most 10 % slow; an authority's are within 1 %."""
    random_source = Random(f"plan {seed}")
    kinds = random_source.sample(list(Fault), k=random_source.randint(1, 5))
    if Fault.RESTORE in kinds and random_source.random() < 0.5:
        kinds.remove(Fault.RESTORE)
    if Fault.RESTORE in kinds and Fault.TERM in kinds:
        # After a restore, operators let the longest term since the backup pass (deploy/runbooks).
        # So a plan with a restore does not change the term.
        kinds.remove(Fault.TERM)
    number = 0 if seed % 4 == 0 else random_source.randint(2, 8)
    faults = [
        _scheduled_fault(random_source, random_source.choice(kinds))
        for _ in range(number if kinds else 0)
    ]
    return Plan(
        seed=seed,
        sidecar_rates=tuple(random_source.choice((0.9, 1.0, 1.08)) for _ in range(SIDECARS)),
        authority_rates=tuple(random_source.choice((0.99, 1.0, 1.01)) for _ in range(AUTHORITIES)),
        postures=tuple(
            random_source.choice(("strict", "grace:session=2s")) for _ in range(SIDECARS)
        ),
        faults=tuple(sorted(faults, key=lambda each: each.at_s)),
        lasting=random_source.choice(list(Lasting)),
        outages=_outages(Random(f"nats {seed}")),
    )


def _outages(random_source: Random) -> tuple[Outage, ...]:
    """Draw the outages of NATS, which about half of the runs have."""
    kinds: tuple[Nats, ...] = ("gone", "silent")
    return tuple(
        Outage(
            random_source.choice(kinds),
            at_s=random_source.uniform(0.5, ENDS_S - 2),
            for_s=random_source.uniform(0.1, 5.0),
            sidecars=random_source.choice(
                (*((number,) for number in range(SIDECARS)), tuple(range(SIDECARS)))
            ),
        )
        for _ in range(random_source.choice((0, 0, 1, 2)))
    )


def _scheduled_fault(random_source: Random, fault: Fault) -> ScheduledFault:
    longest_s = 1.0 if fault in (Fault.POSTGRES_AWAY, Fault.PAUSE_AUTHORITY) else 5.0
    return ScheduledFault(
        fault,
        at_s=random_source.uniform(0.5, ENDS_S - 2),
        for_s=random_source.choice((random_source.uniform(0.05, longest_s), 0.8 * longest_s)),
        which=random_source.randrange(6),
        quality=LinkQuality(
            lost=random_source.choice((0.0, 0.1, 0.5)),
            doubled=random_source.choice((0.0, 0.3)),
            slow=random_source.choice((0.1, 0.5)),
            slow_s=random_source.choice((0.2, 1.0, 3.0)),
        ),
    )
