"""The sidecar's randomness is the system's: it shares no state with the process that it runs in."""

import random

from rescind_sidecar.random_source import SystemRandomSource


def test_drawing_leaves_the_random_state_of_the_process_unchanged() -> None:
    before, random_source = random.getstate(), SystemRandomSource()
    assert all(0.8 <= random_source.jitter() <= 1 for _ in range(100))
    assert len({random_source.identity() for _ in range(100)}) == 100
    assert random.getstate() == before


def test_a_copy_with_the_same_memory_draws_other_values() -> None:
    state, random_source = random.getstate(), SystemRandomSource()
    first = [random_source.jitter() for _ in range(4)]
    random.setstate(state)
    assert [random_source.jitter() for _ in range(4)] != first
