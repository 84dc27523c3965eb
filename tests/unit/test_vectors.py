"""The vectors that other languages test against are those of this code."""

import json

import pytest
from tests.support import vectors

from rescind.core import scopes
from rescind.errors import ScopeError

MADE = vectors.vectors()


@pytest.mark.parametrize("name", MADE)
def test_a_file_of_vectors_is_current(name: str) -> None:
    kept = (vectors.FOLDER / name).read_text(encoding="utf-8")
    assert kept == MADE[name], "append to the format, then run: python -m tests.support.vectors"


def test_no_file_of_vectors_is_left_over() -> None:
    assert {path.name for path in vectors.FOLDER.iterdir()} == set(MADE)


@pytest.mark.parametrize("text", json.loads(MADE["scopes.json"])["invalid"])
def test_an_invalid_scope_of_the_vectors_is_refused_here_too(text: str) -> None:
    with pytest.raises(ScopeError):
        scopes.parse(text)
