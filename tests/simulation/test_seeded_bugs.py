"""Each bug that is put into the product breaks a promise in some run: the simulation can fail.

`BUGS.md` says in which. There it is looked for first, then everywhere.
"""

import re

import pytest
from tests.simulation import bugs
from tests.support import seeded_bugs

say = print


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", list(bugs.BUGS))
def test_a_bug_in_the_product_breaks_a_promise(bug: str) -> None:
    seed: int | None = seeded_bugs.run_of(bug)
    wrong = seeded_bugs.caught(bug, seed or 0)
    if not wrong:
        seed = seeded_bugs.first_run(bug)
        assert seed is not None, f"a survivor: {bug}"
        wrong = seeded_bugs.caught(bug, seed)
    say(f"run {seed}:", *wrong[:3], sep="\n    ")


def test_the_table_names_every_bug_and_no_other() -> None:
    named = {
        match[1]
        for line in seeded_bugs.written()
        if (match := re.fullmatch(r"\| ([^|]+) \| \d+ \|", line))
    }
    assert named == set(bugs.BUGS)


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("bug", list(bugs.BUGS))
def test_the_table_names_the_first_run_that_catches_it(bug: str) -> None:
    assert seeded_bugs.first_run(bug) == seeded_bugs.run_of(bug)
