"""Whatever text comes in, a parser gives what it promises, or its own error, which is short."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.messages import TOKEN

from rescind.core import conditions, handles, scopes, token_format
from rescind.core.posture import Posture
from rescind.errors import (
    ConditionError,
    MalformedTokenError,
    PostureError,
    RescindError,
    ScopeError,
    SelectorError,
)

MAX_REFUSAL = 1_500


@dataclass(frozen=True)
class Parser:
    """A parser, its only error, texts that it takes, and what it makes of what it made."""

    parse: Callable[[str], object]
    error: type[RescindError]
    good: tuple[str, ...]
    again: Callable[[str], object] | None = None


def selected(text: str) -> str:
    return str(handles.select(text.split(" AND ")))


PARSERS = {
    "token": Parser(token_format.parse, MalformedTokenError, (TOKEN,)),
    "handle": Parser(
        handles.parse,
        SelectorError,
        ("*", "subject:agent:bot", "label:team=é", "jwt:iss#jti", "tenant:acme"),
        handles.parse,
    ),
    "selector": Parser(
        selected, SelectorError, ("token:tok_1", "tenant:t AND label:a=b", "*"), selected
    ),
    "scope": Parser(scopes.parse, ScopeError, ("tools:call", "tools:*", "*", "a/b"), scopes.parse),
    "network": Parser(
        conditions.network,
        ConditionError,
        ("10.0.0.0/8", "2001:db8::/32", "192.0.2.7"),
        conditions.network,
    ),
    "labels": Parser(
        lambda text: conditions.labels(text.split(",")), ConditionError, ("region=eu,tier=prod",)
    ),
    "posture": Parser(
        lambda text: str(Posture.parse(text)),
        PostureError,
        ("strict", "grace:session=60s,service=5m", "grace:agent=100ms"),
        lambda text: str(Posture.parse(text)),
    ),
}
NASTY = st.sampled_from(
    ["\0", "\ud800", "\u202e", "\u0661", "\uff0e", "e\u0301", "\n", " ", "%", "=", ":", "#", "*"]
)
ANYTHING = st.text(alphabet=st.characters(codec=None, exclude_categories=()), max_size=300)
every_parser = pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS)


def survives(parser: Parser, text: str) -> None:
    try:
        made = parser.parse(text)
    except parser.error as error:
        refusal = str(error)
    else:
        refusal = ""
        same(parser, made)
    assert len(refusal) < MAX_REFUSAL


def same(parser: Parser, made: object) -> None:
    if parser.again is not None:
        assert isinstance(made, str)
        assert parser.again(made) == made, "what was made of it means the same"


@st.composite
def mutated(draw: st.DrawFn, good: tuple[str, ...]) -> str:
    """Draw a good text with a few edits in it."""
    text = draw(st.sampled_from(good))
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(text)))
        end = draw(st.integers(begin, min(len(text), begin + 3)))
        text = text[:begin] + draw(NASTY | ANYTHING | st.sampled_from(good)) + text[end:]
    return text


@every_parser
@given(text=ANYTHING)
def test_any_text_is_parsed_or_refused(parser: Parser, text: str) -> None:
    survives(parser, text)


@every_parser
@given(data=st.data())
def test_a_good_text_that_was_edited_is_parsed_or_refused(
    parser: Parser, data: st.DataObject
) -> None:
    survives(parser, data.draw(mutated(parser.good)))


@every_parser
@pytest.mark.parametrize("giant", ["0" * 1_000_000, ":" * 1_000_000, "1." * 500_000, "1/" * 9_999])
def test_the_refusal_of_a_huge_text_is_short(parser: Parser, giant: str) -> None:
    survives(parser, giant)
    survives(parser, parser.good[0] + giant)


@given(place=st.integers(0, len(TOKEN) - 1), other=st.characters(codec="ascii"))
def test_a_token_with_one_wrong_character_is_refused_and_not_quoted(place: int, other: str) -> None:
    wrong = TOKEN[:place] + other + TOKEN[place + 1 :]
    if wrong == TOKEN:
        return
    with pytest.raises(MalformedTokenError) as caught:
        token_format.parse(wrong)
    assert TOKEN[8:40] not in str(caught.value)
