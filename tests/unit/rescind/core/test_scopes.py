"""Scopes and their patterns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescind.core import scopes
from rescind.errors import ScopeError


@pytest.mark.parametrize(
    "text", ["a", "tools:call:github/issues", "tools:*", "tools:call:github/*", "*"]
)
def test_a_good_scope_is_read_as_it_is(text: str) -> None:
    assert scopes.parse(text) == text


@pytest.mark.parametrize(
    "text", ["", "a b", 'a"b', "a\\b", "ä", "x" * 129, "a*", "tools:*:read", "**", "a:*b", "*:*"]
)
def test_an_invalid_scope_is_refused(text: str) -> None:
    with pytest.raises(ScopeError):
        scopes.parse(text)


@pytest.mark.parametrize(
    ("granted", "wanted", "covered"),
    [
        ("tools:call", "tools:call", True),
        ("tools:call", "tools:call:x", False),
        ("tools:*", "tools:call", True),
        ("tools:*", "tools:call:github/issues", True),
        ("tools:*", "tools:call:*", True),
        ("tools:*", "tools:*", True),
        ("tools:*", "tools:", True),
        ("tools:*", "tools", False),
        ("tools:*", "toolshed:open", False),
        ("tools:call:github/*", "tools:call:github/issues/7", True),
        ("tools:call:github/*", "tools:*", False),
        ("*", "anything", True),
        ("tools:call", "*", False),
    ],
)
def test_a_pattern_covers_scopes_that_begin_with_its_prefix(
    granted: str, wanted: str, *, covered: bool
) -> None:
    assert scopes.covers([granted], wanted) is covered


@pytest.mark.parametrize(
    ("removed", "wanted", "met"),
    [
        ("tools:call:github/*", "tools:call:github/issues", True),
        ("tools:call:github/issues", "tools:call:*", True),
        ("tools:call:github/*", "tools:call:gitlab/issues", False),
        ("tools:call", "tools:call:x", False),
    ],
)
def test_a_removed_scope_and_a_wanted_scope_overlap_if_either_pattern_covers_the_other(
    removed: str, wanted: str, *, met: bool
) -> None:
    assert scopes.meets([removed], wanted) is met


TEXTS = st.sampled_from(
    [
        *("a", "a:", "a:b", "a:b/", "a:b/c", "a:b:c", "ab", "ab:c", "b", "b:c/d"),
        *("*", "a:*", "a:b/*", "a:b:*", "ab:*", "b:*", "b:c/*"),
    ]
)


@given(st.frozensets(TEXTS, max_size=5), TEXTS)
def test_a_matcher_agrees_with_the_rules(patterns: frozenset[str], wanted: str) -> None:
    matcher = scopes.Matcher(patterns)
    assert matcher.covers(wanted) is scopes.covers(patterns, wanted)
    assert matcher.meets(wanted) is scopes.meets(patterns, wanted)


def test_the_list_of_removed_patterns_is_complete_or_ends_in_a_pattern_for_everything() -> None:
    removed = ["b", "a:*", "c%"]
    assert scopes.reported(()) == ()
    assert scopes.reported(removed) == ("a:*", "b", "c%")
    # As they are written in a header, with `%25` for `%` and a space between two.
    size = len("a:* b c%25 ")
    assert scopes.reported(removed, most_bytes=size) == ("a:*", "b", "c%")
    assert scopes.reported(removed, most_bytes=size - 1) == ("a:*", "b", "*")
    assert scopes.reported(removed, most_bytes=0) == ("*",)
    for wanted in ("a:x", "b", "c%", "d"):
        assert scopes.meets(scopes.reported(removed, most_bytes=0), wanted)
