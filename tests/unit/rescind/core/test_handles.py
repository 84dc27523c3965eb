"""Handles and selectors, by the rules of design 5."""

import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.messages import TOKEN

from rescind.core import handles
from rescind.core.handles import Handle, Selector
from rescind.errors import SelectorError

# From the most selective to the least (design 5).
ANCHOR_ORDER = (
    "token:t",
    "jwt:https://i#j",
    "tree:t",
    "session:s",
    "subject:agent:a",
    "chain:agent:a",
    "label:k=v",
    "client:c",
    "tenant:t",
    "issuer:https://i",
    "created_by:admin:a",
    "kind:agent",
    "*",
)


def selector(*texts: str) -> Selector:
    return handles.select(texts, exact=True)


@pytest.mark.parametrize("text", ANCHOR_ORDER)
def test_a_good_handle_is_read_as_it_is(text: str) -> None:
    assert handles.parse(text) == text


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("subject:agent:a:b", "subject"),
        ("subject:https://i#x:y", "subject"),
        ("label:k=v:w=x", "label"),
        ("*", "*"),
    ],
)
def test_a_handle_splits_at_its_first_colon(text: str, kind: str) -> None:
    assert handles.kind_of(handles.parse(text)) == kind


@pytest.mark.parametrize("text", ["label:k=v", "label:k=", "label:k=v=w", "label:k:l=v"])
def test_a_label_splits_at_its_first_equals_sign(text: str) -> None:
    assert handles.parse(text) == text


@pytest.mark.parametrize("text", ["jwt:https://i#j", "jwt:https://i#frag#j", "jwt:i#j"])
def test_a_foreign_token_splits_at_its_last_hash(text: str) -> None:
    assert handles.parse(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "token",
        "token:",
        ":x",
        "**",
        "*:x",
        "Token:x",
        " token:x",
        "colour:red",
        "label:team",
        "label:=v",
        "jwt:i",
        "jwt:#j",
        "jwt:i#",
        "subject:a\n",
        "subject:a\0",
        "subject:\ud800",
        "subject:\u200b",
    ],
)
def test_an_invalid_handle_is_refused_with_advice(text: str) -> None:
    with pytest.raises(SelectorError) as caught:
        handles.parse(text)
    assert str(caught.value)


@pytest.mark.parametrize(
    "text", [TOKEN, f"token:{TOKEN}", f"tree:{TOKEN}", TOKEN[:-1], f"label:k={TOKEN}\n", TOKEN * 9]
)
def test_a_pasted_token_is_neither_accepted_nor_quoted(text: str) -> None:
    with pytest.raises(SelectorError) as caught:
        handles.parse(text)
    assert "that is a token" in str(caught.value)
    assert TOKEN[8:16] not in str(caught.value)


def test_two_spellings_of_one_text_are_one_handle() -> None:
    composed, decomposed = "subject:agent:é", "subject:agent:e\u0301"
    assert composed != decomposed
    assert handles.parse(composed) == handles.parse(decomposed) == composed
    assert selector(composed, decomposed) == selector(composed)


@given(st.text(min_size=1, max_size=40))
def test_a_handle_that_is_read_stays_the_same_when_read_again(value: str) -> None:
    try:
        handle = handles.parse(f"tenant:{value}")
    except SelectorError:
        return
    assert handles.parse(handle) == handle
    assert unicodedata.is_normalized("NFC", handle)


def test_a_handle_has_at_most_256_bytes() -> None:
    assert handles.parse("tenant:" + "x" * 249)
    assert handles.parse("tenant:" + "é" * 124)
    for text in ("tenant:" + "x" * 250, "tenant:" + "é" * 125, "tenant:" + "x" * 1_000_000):
        with pytest.raises(SelectorError, match="256 bytes") as caught:
            handles.parse(text)
        assert len(str(caught.value)) < 200


def test_the_length_is_counted_after_unicode_composition() -> None:
    assert handles.parse("tenant:" + "e\u0301" * 124) == "tenant:" + "é" * 124


@pytest.mark.parametrize(("narrow", "wide"), list(itertools.combinations(ANCHOR_ORDER, 2)))
def test_the_most_selective_handle_is_the_anchor(narrow: str, wide: str) -> None:
    assert selector(wide, narrow).anchor == narrow


def test_the_first_in_order_of_two_handles_of_one_kind_is_the_anchor() -> None:
    assert selector("label:b=1", "label:a=2").anchor == "label:a=2"


@pytest.mark.parametrize(
    ("texts", "anchor"),
    [
        (("newkind:x",), "newkind:x"),
        (("newkind:x", "*"), "newkind:x"),
        (("newkind:x", "issuer:i"), "issuer:i"),
        (("no colon at all",), "no colon at all"),
    ],
)
def test_a_handle_newer_than_this_verifier_can_be_an_anchor(
    texts: tuple[str, ...], anchor: str
) -> None:
    assert Selector(tuple(Handle(text) for text in texts)).anchor == anchor


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("token:t", "tree:t"),
        ("subject:agent:a", "chain:agent:a"),
        ("tree:t", "tree:t"),
        ("chain:agent:a", "chain:agent:a"),
        ("session:s", "session:s"),
        ("*", "*"),
    ],
)
def test_a_selector_includes_descendants_unless_exact_is_requested(text: str, taken: str) -> None:
    assert handles.select([text]).handles == (taken,)
    assert handles.select([text], exact=True).handles == (text,)


def test_a_selector_is_a_set_in_order() -> None:
    assert selector("tenant:t", "*", "tenant:t").handles == ("*", "tenant:t")
    assert handles.select(["token:t", "tree:t"]).handles == ("tree:t",)
    assert str(selector("tenant:t", "*")) == "* AND tenant:t"


def test_a_selector_has_one_to_eight_handles() -> None:
    assert len(selector(*(f"label:k{n}=v" for n in range(8))).handles) == 8
    for texts in ([], [f"label:k{n}=v" for n in range(9)]):
        with pytest.raises(SelectorError, match="1 to 8"):
            handles.select(texts)


def test_a_selector_matches_a_record_that_has_all_of_its_handles() -> None:
    both = selector("tenant:t", "kind:agent")
    assert both.matches([Handle(text) for text in ("*", "tenant:t", "kind:agent", "label:k=v")])
    assert not both.matches({Handle("tenant:t")})
    assert not both.matches(set())


@pytest.mark.parametrize(
    "texts",
    [
        *(["*"], ["tenant:t"], ["kind:agent"], ["label:a=b"], ["label:a=b", "tenant:t"]),
        *(["issuer:https://i"], ["created_by:admin:a"], ["client:c"]),
    ],
)
def test_a_selector_without_a_holder_is_wide(texts: list[str]) -> None:
    assert handles.select(texts).wide


@pytest.mark.parametrize(
    "texts",
    [
        *(["token:tok_1"], ["subject:agent:a"], ["session:s"], ["tenant:t", "subject:user:1"]),
        *(["jwt:https://i#j"], ["tree:t"], ["chain:agent:a"], ["kind:agent", "token:tok_1"]),
    ],
)
def test_a_selector_with_a_holder_is_not_wide(texts: list[str]) -> None:
    assert not handles.select(texts).wide


def test_a_handle_newer_than_this_verifier_does_not_count_as_wide() -> None:
    assert not Selector((Handle("planet:earth"),)).wide


def test_a_token_has_the_handles_of_design_5() -> None:
    listed = handles.of_token(
        token_id="tok_1",
        kind="agent",
        subject="agent:bot",
        tenant="acme",
        client="cli",
        session="s-1",
        labels=[("team", "é"), ("empty", "")],
    )
    assert listed == tuple(
        sorted(
            {
                "*",
                "token:tok_1",
                "tree:tok_1",
                "subject:agent:bot",
                "chain:agent:bot",
                "kind:agent",
                "tenant:acme",
                "client:cli",
                "session:s-1",
                "label:team=é",
                "label:empty=",
            }
        )
    )


def test_a_child_keeps_what_it_inherits() -> None:
    parents = [Handle("tree:tok_0"), Handle("chain:agent:root"), Handle("newkind:x")]
    listed = handles.of_token(
        token_id="tok_1",
        kind="agent",
        subject="agent:root/a",
        tenant=None,
        client=None,
        session=None,
        labels=[],
        inherited=parents,
    )
    assert set(parents) < set(listed)
    assert {"tree:tok_1", "chain:agent:root/a", "subject:agent:root/a"} < set(listed)


@pytest.mark.parametrize("label", [("a=b", "c"), ("", "v"), ("k" * 300, "v"), ("k\n", "v")])
def test_a_label_that_could_be_mistaken_for_another_is_refused(label: tuple[str, str]) -> None:
    with pytest.raises(SelectorError):
        handles.of_token(
            token_id="tok_1",
            kind="agent",
            subject="agent:a",
            tenant=None,
            client=None,
            session=None,
            labels=[label],
        )


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        (["teaK", "tea\u212a"], ["tea\u212a"]),  # the KELVIN SIGN
        (["\u00c5", "\u212b", "A\u030a"], ["\u212b", "A\u030a"]),  # ANGSTROM, and in two parts
        (["team", "Team", "\uff34\uff25\uff21\uff2d"], ["Team", "\uff34\uff25\uff21\uff2d"]),
        (["stra\u00dfe", "STRASSE"], ["STRASSE"]),
        (["\ufb01le", "file"], ["file"]),
        (["team", "step", "te-am"], []),
        ([], []),
    ],
)
def test_keys_that_differ_only_in_case_or_compatible_characters_are_confusable(
    keys: list[str], found: list[str]
) -> None:
    assert handles.alike(keys) == tuple(found)
