"""A list says whether there is more than what it shows."""

from collections.abc import Iterator

import pytest

from rescind_cli.options.param_types import listed


@pytest.mark.parametrize(("there", "limit", "more"), [(2, 3, False), (3, 3, False), (4, 3, True)])
def test_one_entry_beyond_the_limit_shows_that_there_are_more(
    there: int, limit: int, more: bool
) -> None:
    assert listed(range(there), limit) == (list(range(min(there, limit))), more)


def test_a_limit_of_0_means_no_limit() -> None:
    assert listed(range(1_000), 0) == (list(range(1_000)), False)


def test_no_entry_is_fetched_after_the_first_one_beyond_the_limit() -> None:
    def entries() -> Iterator[int]:
        yield from range(4)
        pytest.fail("it asked for the next page")

    assert listed(entries(), 3) == ([0, 1, 2], True)
