"""The table of seeded bugs, `tests/BUGS.md`: each rule that can be switched off, and what noticed.

python -m tests.support.seeded_bugs writes it anew; the tests compare it with what they find.
"""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from tests.model import catalogue
from tests.model.explorer import Found, explore

PATH = Path(__file__).parents[1] / "BUGS.md"

_HEAD = """# Seeded bugs, each caught

A test that cannot fail proves nothing. So each rule of the design is switched off somewhere, one at
a time, and something has to notice; what nobody notices fails the tests. This file is written by
`python -m tests.support.seeded_bugs`, and the tests compare it with what they find.

## In the models (`model/`): the shortest way to a wrong state

| the rule that is off | model | steps | states seen |
| --- | --- | --- | --- |
"""


def by_model(rule: StrEnum, where: str, found: Found) -> str:
    """Write the line of one rule that a model found broken."""
    return f"| {rule} | {where} | {len(found.trace)} | {found.states:,} |"


def written() -> frozenset[str]:
    """Read the lines that stand in the file."""
    return frozenset(PATH.read_text().splitlines())


def lines() -> Iterator[str]:
    """Find out everything again."""
    for rule, where, model in catalogue.broken():
        yield by_model(rule, where, explore(model))


if __name__ == "__main__":
    PATH.write_text(_HEAD + "\n".join(lines()) + "\n")
