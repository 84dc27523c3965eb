"""The vectors that other languages test against are those of this code."""

import pytest
from tests.support import vectors

MADE = vectors.vectors()


@pytest.mark.parametrize("name", MADE)
def test_a_file_of_vectors_is_current(name: str) -> None:
    kept = (vectors.FOLDER / name).read_text(encoding="utf-8")
    assert kept == MADE[name], "append to the format, then run: python -m tests.support.vectors"


def test_no_file_of_vectors_is_left_over() -> None:
    assert {path.name for path in vectors.FOLDER.iterdir()} == set(MADE)
