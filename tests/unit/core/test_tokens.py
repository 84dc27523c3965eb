"""The token's format, exactly as the contract has it."""

import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.messages import EDGE_KEY
from tests.support.messages import TOKEN as AGENT

from rescind.core import base62, tokens
from rescind.core.tokens import CODES, Kind
from rescind.errors import MalformedTokenError

RANDOM = bytes(range(32))
SCANNER = re.compile(r"\brsc_(agt|svc|ses|pat|adm)_[0-9A-Za-z]{60}\b")

kinds = st.sampled_from(Kind)
randoms = st.binary(min_size=32, max_size=32)


def minted(kind: Kind = Kind.AGENT, random: bytes = RANDOM) -> str:
    return tokens.mint(kind=kind, random=random, edge_key=EDGE_KEY).reveal()


def with_body(number: int) -> str:
    digits = base62.encode(number, 54)
    return f"rsc_agt_{digits}{tokens.checksum(digits)}"


def test_the_checksum_is_the_one_that_github_publishes():
    assert tokens.checksum("zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ") == "0mLq17"


def test_a_token_from_pinned_bytes_and_key_is_pinned():
    assert minted() == AGENT


def test_the_contract_names_the_kinds_in_three_letters():
    assert CODES == {
        Kind.AGENT: "agt",
        Kind.SERVICE: "svc",
        Kind.SESSION: "ses",
        Kind.PERSONAL: "pat",
        Kind.ADMIN: "adm",
    }


@given(kinds, randoms)
def test_every_token_is_found_by_the_scanner_and_read_back(kind: Kind, random: bytes):
    text = minted(kind, random)
    found = SCANNER.search(f"key={text};")
    token = tokens.parse(text)
    assert found is not None
    assert found[0] == text
    assert (token.prefix, token.kind, token.random) == ("rsc", kind, random)
    assert tokens.genuine(token, [EDGE_KEY])


def test_any_live_edge_key_vouches_and_no_other_does():
    token = tokens.parse(AGENT)
    assert tokens.genuine(token, [b"new" * 11, EDGE_KEY])
    assert not tokens.genuine(token, [b"new" * 11])
    assert not tokens.genuine(token, [])


def test_the_tag_binds_the_kind_and_the_prefix():
    as_admin = tokens.parse(AGENT.replace("_agt_", "_adm_"))
    elsewhere = tokens.parse(AGENT.replace("rsc_", "abc_"), prefix="abc")
    assert not tokens.genuine(as_admin, [EDGE_KEY])
    assert not tokens.genuine(elsewhere, [EDGE_KEY])


@pytest.mark.parametrize("place", range(len(AGENT)))
def test_every_change_of_one_character_is_refused(place: int):
    alphabet = set(base62.ALPHABET + "_ -\n\0é٣") - {AGENT[place]}
    for character in alphabet:
        changed = AGENT[:place] + character + AGENT[place + 1 :]
        with pytest.raises(MalformedTokenError):
            tokens.parse(changed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rsc_agt_",
        AGENT[:-1],
        AGENT + "0",
        AGENT + "\n",
        " " + AGENT,
        AGENT.upper(),
        AGENT.replace("_", "-"),
        AGENT.replace("agt", "xyz"),
        AGENT + AGENT,
        "\ud800" * 68,
        "x" * 1_000_000,
    ],
)
def test_what_is_no_token_is_malformed_and_never_quoted(text: str):
    with pytest.raises(MalformedTokenError) as caught:
        tokens.parse(text)
    assert AGENT[8:20] not in str(caught.value)
    assert len(str(caught.value)) < 200
    assert caught.value.__cause__ is None


def test_another_prefix_is_refused_without_naming_the_body():
    with pytest.raises(MalformedTokenError) as caught:
        tokens.parse(AGENT, prefix="abc")
    assert "abc_" in str(caught.value)
    assert AGENT[8:] not in str(caught.value)


def test_a_body_of_forty_bytes_is_read_and_one_more_is_malformed():
    largest = tokens.parse(with_body(2**320 - 1))
    assert largest.random + largest.tag == b"\xff" * 40
    for number in (2**320, 62**54 - 1):
        with pytest.raises(MalformedTokenError):
            tokens.parse(with_body(number))


def test_a_small_body_keeps_its_leading_zeros():
    token = tokens.parse(with_body(1))
    assert token.random == bytes(32)
    assert token.tag == (1).to_bytes(8)


@pytest.mark.parametrize("prefix", ["", "a", "Abc", "a_b", "1ab", "a" * 13, "ab\n"])
def test_a_prefix_that_no_scanner_could_read_back_mints_nothing(prefix: str):
    with pytest.raises(ValueError, match="prefix"):
        tokens.mint(kind=Kind.AGENT, random=RANDOM, edge_key=EDGE_KEY, prefix=prefix)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_token_needs_exactly_32_random_bytes(length: int):
    with pytest.raises(ValueError, match="32"):
        tokens.mint(kind=Kind.AGENT, random=bytes(length), edge_key=EDGE_KEY)


def test_only_the_digest_of_the_whole_text_goes_anywhere():
    digest = "e93372e67f44100cbe1677314f295bb06d98963d7f84ea8d552c785cd3609b7a"
    assert tokens.digest(AGENT).hex() == digest


def test_a_secret_shows_itself_only_when_asked():
    secret = tokens.mint(kind=Kind.AGENT, random=RANDOM, edge_key=EDGE_KEY)
    shown = f"{secret} {secret!r} {secret!s} {[secret]}"
    assert shown == "<secret> <secret> <secret> [<secret>]"
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_a_parsed_token_does_not_print_its_parts():
    token = tokens.parse(AGENT)
    assert token.random.hex() not in repr(token)
    assert str(token.random) not in repr(token)


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_token_is_noticed_inside_any_text(before: str, after: str):
    assert tokens.contained(before + AGENT + after)
    assert tokens.contained(before + AGENT[:40])


@pytest.mark.parametrize(
    "text",
    ["token:tok_01kdvdsdg0000g40r40m30e209", "chain:agent:billing-bot/search-1", "*", ""],
)
def test_ordinary_handles_are_not_taken_for_tokens(text: str):
    assert not tokens.contained(text)


@pytest.mark.parametrize("shown", ["{}", "was {}, and {}!", "é{}", "x{}"])
def test_what_is_shown_of_a_text_holds_no_token(shown: str):
    token = "rsc_agt_001GsBaniMdfHPrKhhwjnlS86reYjdQ5ckAqLoTS4ckok0FA7OvgX31DQnGk"
    text = shown.format(token, token[:40])
    assert tokens.contained(text)
    hidden = tokens.hidden(text)
    assert not tokens.contained(hidden)
    assert hidden == shown.format("rsc_agt_<secret>", "rsc_agt_<secret>")
