"""The table of seeded bugs, `tests/BUGS.md`: each rule that can be disabled, and what noticed it.

python -m tests.support.seeded_bugs writes it again; the tests compare it with their findings.
"""

import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from enum import StrEnum
from pathlib import Path

from tests.model import catalogue
from tests.model.explorer import Found, explore
from tests.simulation import bugs, bugs_of_ends, runs
from tests.simulation.plan import draw
from tests.simulation.world import simulate

bugs.BUGS.update(bugs_of_ends.BUGS)
PATH = Path(__file__).parents[1] / "BUGS.md"
MAX_RUNS = 3_000

_HEAD = """# Seeded bugs, each caught

A test that cannot fail shows nothing. So each rule of the design is switched off, one at a time. A
model or the simulation must find it; a rule that is switched off unnoticed fails the tests.
`python -m tests.support.seeded_bugs` writes this file. The tests compare it with what they find.

## In the models (`model/`): the shortest way to a wrong state

| the rule that is off | model | steps | states seen |
| --- | --- | --- | --- |
"""

_SIMULATED = """
## In the product, under simulation (`simulation/bugs.py`): the first run that breaks a promise

| the bug | caught in run |
| --- | --- |
"""


def by_model(rule: StrEnum, where: str, found: Found) -> str:
    """Return the line of one rule that a model found broken."""
    return f"| {rule} | {where} | {len(found.trace)} | {found.states:,} |"


def by_simulation(bug: str, seed: int) -> str:
    """Return the line of one bug that a run found."""
    return f"| {bug} | {seed} |"


def written() -> frozenset[str]:
    """Return the lines of the file."""
    return frozenset(PATH.read_text().splitlines())


def run_of(bug: str) -> int:
    """Return the run that catches a bug; the first run if the file has none yet."""
    found = re.search(rf"^\| {re.escape(bug)} \| (\d+) \|$", PATH.read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def caught(bug: str, seed: int) -> list[str]:
    """Run once with a bug, and return what was wrong then."""
    with runs.silence(), bugs.seeded(bug):
        return simulate(draw(seed)).wrong


def first_run(bug: str) -> int | None:
    """Return the first run that catches a bug."""
    return next((seed for seed in range(MAX_RUNS) if caught(bug, seed)), None)


def _lines() -> Iterator[str]:
    yield from _HEAD.splitlines()
    for rule, where, model in catalogue.broken():
        yield by_model(rule, where, explore(model))
    yield from _SIMULATED.splitlines()
    with ProcessPoolExecutor() as processes:
        for bug, seed in zip(bugs.BUGS, processes.map(first_run, bugs.BUGS), strict=True):
            assert seed is not None, f"a survivor: {bug}"
            yield by_simulation(bug, seed)


if __name__ == "__main__":
    PATH.write_text("\n".join([*_lines(), ""]))
