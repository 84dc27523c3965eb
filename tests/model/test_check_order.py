"""Every order of a check's four reads against every order of the sidecar's three writes.

The story is the worst one: a sidecar is cut off, an event that hits the token is committed, the
receipt comes by lapse of the lease, and the sidecar comes back (applies the event, gets a new
lease) while a check that started *after the receipt* runs. That check must not accept (design 6.5).
"""

from collections.abc import Iterator
from itertools import permutations

import pytest

OLD_DEADLINE, RECEIPT, NEW_DEADLINE = 9, 10, 30

Order = tuple[str, ...]

READS = ("lease", "generation", "slot", "clock")
WRITES = ("slot", "generation", "lease")
DESIGN_READ: Order = READS
DESIGN_WRITE: Order = WRITES
# The lease before the generation, and that before the slot: where the clock goes is free, for a
# check that starts after the receipt.
SAFE_READS = {
    ("lease", "generation", "slot", "clock"),
    ("lease", "generation", "clock", "slot"),
    ("lease", "clock", "generation", "slot"),
    ("clock", "lease", "generation", "slot"),
}


def interleavings(reads: Order, writes: Order) -> Iterator[tuple[Order, Order]]:
    """Yield every way in which the steps of the two can follow each other, each in its order."""
    total = len(reads) + len(writes)
    for mask in range(1 << total):
        if mask.bit_count() == len(reads):
            one, other = iter(reads), iter(writes)
            sides = tuple("reader" if mask >> step & 1 else "writer" for step in range(total))
            yield sides, tuple(next(one if side == "reader" else other) for side in sides)


def check(sides: Order, steps: Order) -> tuple[bool, bool]:
    """Run one interleaving. Say whether the check accepts, and whether every later one does too."""
    word = {"slot": 0, "generation": 0, "lease": OLD_DEADLINE}
    seen: dict[str, int] = {}
    for side, step in zip(sides, steps, strict=True):
        if side == "writer":
            word[step] = NEW_DEADLINE if step == "lease" else 1
        else:
            seen[step] = RECEIPT + 1 if step == "clock" else word[step]
    unchanged = seen["slot"] == 0
    accepts = (seen["generation"] == 0 or unchanged) and seen["clock"] < seen["lease"]
    noted = seen["generation"] if unchanged else 0
    # The next check, with all written: it compares the slots only if the generation is new to it.
    for_ever = noted == word["generation"] and unchanged
    return accepts, for_ever


def violations(reads: Order, writes: Order) -> tuple[bool, bool]:
    """Return whether an interleaving accepts after the receipt, and whether one loses the event."""
    results = [check(sides, steps) for sides, steps in interleavings(reads, writes)]
    return any(accepts for accepts, _ in results), any(for_ever for _, for_ever in results)


def safe(reads: Order, writes: Order) -> bool:
    return violations(reads, writes) == (False, False)


def test_the_orders_of_the_design_are_safe_together() -> None:
    assert safe(DESIGN_READ, DESIGN_WRITE)


@pytest.mark.parametrize("reads", list(permutations(READS)), ids=" ".join)
def test_exactly_the_known_orders_of_reading_are_safe(reads: Order) -> None:
    assert safe(reads, DESIGN_WRITE) is (reads in SAFE_READS)


@pytest.mark.parametrize("writes", list(permutations(WRITES)), ids=" ".join)
def test_only_the_order_of_writing_in_the_design_is_safe(writes: Order) -> None:
    assert safe(DESIGN_READ, writes) is (writes == DESIGN_WRITE)


def test_reading_the_lease_after_the_slots_accepts_after_the_receipt() -> None:
    accepts, _ = violations(("generation", "slot", "lease", "clock"), DESIGN_WRITE)
    assert accepts


def test_writing_the_generation_before_the_slot_loses_the_event_for_good() -> None:
    _, for_ever = violations(DESIGN_READ, ("generation", "slot", "lease"))
    assert for_ever


def test_noting_a_generation_read_after_the_slots_loses_the_event_for_good() -> None:
    _, for_ever = violations(("lease", "slot", "generation", "clock"), DESIGN_WRITE)
    assert for_ever


def test_writing_the_lease_before_the_slot_accepts_after_the_receipt() -> None:
    accepts, _ = violations(DESIGN_READ, ("lease", "slot", "generation"))
    assert accepts


def test_the_model_tries_every_interleaving_once() -> None:
    ways = list(interleavings(DESIGN_READ, DESIGN_WRITE))
    assert len(ways) == len(set(ways)) == 35
