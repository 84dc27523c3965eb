"""Many runs, on all processors; the same seeds give the same runs."""

import logging
import multiprocessing
import os
from collections import Counter
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

import structlog
from tests.simulation.plan import draw
from tests.simulation.world import simulate
from tests.support import logs

_AT_ONCE = 25


@contextmanager
def silence() -> Generator[None]:
    """Suppress the log of the product for the block."""
    with logs.restored():
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        yield


def some(seeds: Sequence[int]) -> tuple[dict[int, list[str]], Counter[str]]:
    """Run these seeds; return the violations of each, and the counts of all runs."""
    wrong: dict[int, list[str]] = {}
    count = Counter[str]()
    with silence():
        for seed in seeds:
            oracle = simulate(draw(seed))
            count += oracle.count
            if oracle.wrong:
                wrong[seed] = oracle.wrong
    return wrong, count


def many(seeds: Sequence[int]) -> tuple[dict[int, list[str]], Counter[str]]:
    """Run seeds as `some` does, in one process for each processor."""
    parts = [seeds[start : start + _AT_ONCE] for start in range(0, len(seeds), _AT_ONCE)]
    wrong: dict[int, list[str]] = {}
    count = Counter[str]()
    with ProcessPoolExecutor(
        os.cpu_count(), mp_context=multiprocessing.get_context("spawn")
    ) as processes:
        for part_wrong, part_count in processes.map(some, parts):
            wrong |= part_wrong
            count += part_count
    return wrong, count
