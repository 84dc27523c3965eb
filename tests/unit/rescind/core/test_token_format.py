"""The token's format, exactly as the contract has it."""

import hashlib
import hmac
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.messages import EDGE_KEY
from tests.support.messages import TOKEN as AGENT

from rescind.core import base62, token_format
from rescind.core.token_format import CODES, Kind
from rescind.errors import MalformedTokenError

RANDOM = bytes(range(32))
SCANNER = re.compile(r"\brsc_(agt|svc|ses|pat|adm)_[0-9A-Za-z]{60}\b")

kinds = st.sampled_from(Kind)
randoms = st.binary(min_size=32, max_size=32)


def minted(kind: Kind = Kind.AGENT, random: bytes = RANDOM) -> str:
    return token_format.mint(kind=kind, random=random, edge_key=EDGE_KEY).reveal()


def with_body(number: int) -> str:
    digits = base62.encode(number, 54)
    return f"rsc_agt_{digits}{token_format.checksum(digits)}"


def test_the_checksum_is_the_one_that_github_publishes() -> None:
    assert token_format.checksum("zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ") == "0mLq17"


def test_a_token_from_pinned_bytes_and_key_is_pinned() -> None:
    assert minted() == AGENT


def test_the_contract_names_the_kinds_in_three_letters() -> None:
    assert CODES == {
        Kind.AGENT: "agt",
        Kind.SERVICE: "svc",
        Kind.SESSION: "ses",
        Kind.PERSONAL: "pat",
        Kind.ADMIN: "adm",
    }


@given(kinds, randoms)
def test_every_token_is_found_by_the_scanner_and_read_back(kind: Kind, random: bytes) -> None:
    text = minted(kind, random)
    found = SCANNER.search(f"key={text};")
    token = token_format.parse(text)
    assert found is not None
    assert found[0] == text
    assert (token.prefix, token.kind, token.random) == ("rsc", kind, random)
    assert token_format.genuine(token, [EDGE_KEY])


def test_any_live_edge_key_verifies_a_token_and_no_other_key_does() -> None:
    token = token_format.parse(AGENT)
    assert token_format.genuine(token, [b"new" * 11, EDGE_KEY])
    assert not token_format.genuine(token, [b"new" * 11])
    assert not token_format.genuine(token, [])


def test_the_tag_binds_the_kind_and_the_prefix() -> None:
    as_admin = token_format.parse(AGENT.replace("_agt_", "_adm_"))
    elsewhere = token_format.parse(AGENT.replace("rsc_", "abc_"), prefix="abc")
    assert not token_format.genuine(as_admin, [EDGE_KEY])
    assert not token_format.genuine(elsewhere, [EDGE_KEY])


@pytest.mark.parametrize("place", range(len(AGENT)))
def test_every_change_of_one_character_is_refused(place: int) -> None:
    alphabet = set(base62.ALPHABET + "_ -\n\0é٣") - {AGENT[place]}
    for character in alphabet:
        changed = AGENT[:place] + character + AGENT[place + 1 :]
        with pytest.raises(MalformedTokenError):
            token_format.parse(changed)


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
def test_a_text_that_is_not_a_token_is_malformed_and_never_quoted(text: str) -> None:
    with pytest.raises(MalformedTokenError) as caught:
        token_format.parse(text)
    assert AGENT[8:20] not in str(caught.value)
    assert len(str(caught.value)) < 200
    assert caught.value.__cause__ is None


def test_another_prefix_is_refused_without_naming_the_body() -> None:
    with pytest.raises(MalformedTokenError) as caught:
        token_format.parse(AGENT, prefix="abc")
    assert "abc_" in str(caught.value)
    assert AGENT[8:] not in str(caught.value)


def test_a_body_of_forty_bytes_is_read_and_one_more_is_malformed() -> None:
    largest = token_format.parse(with_body(2**320 - 1))
    assert largest.random + largest.tag == b"\xff" * 40
    for number in (2**320, 62**54 - 1):
        with pytest.raises(MalformedTokenError):
            token_format.parse(with_body(number))


def test_a_small_body_keeps_its_leading_zeros() -> None:
    token = token_format.parse(with_body(1))
    assert token.random == bytes(32)
    assert token.tag == (1).to_bytes(8)


@pytest.mark.parametrize("prefix", ["", "a", "Abc", "a_b", "1ab", "a" * 13, "ab\n"])
def test_a_prefix_that_no_scanner_could_read_back_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        token_format.mint(kind=Kind.AGENT, random=RANDOM, edge_key=EDGE_KEY, prefix=prefix)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_token_needs_exactly_32_random_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="32"):
        token_format.mint(kind=Kind.AGENT, random=bytes(length), edge_key=EDGE_KEY)


def test_the_digest_of_a_token_is_that_of_its_whole_text() -> None:
    digest = "e93372e67f44100cbe1677314f295bb06d98963d7f84ea8d552c785cd3609b7a"
    assert token_format.digest(AGENT).hex() == digest


def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = token_format.mint(kind=Kind.AGENT, random=RANDOM, edge_key=EDGE_KEY)
    shown = f"{secret} {secret!r} {secret!s} {[secret]}"
    assert shown == "<secret> <secret> <secret> [<secret>]"
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_a_parsed_token_does_not_print_its_parts() -> None:
    token = token_format.parse(AGENT)
    assert token.random.hex() not in repr(token)
    assert str(token.random) not in repr(token)


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_token_is_detected_inside_any_text(before: str, after: str) -> None:
    assert token_format.contained(before + AGENT + after)
    assert token_format.contained(before + AGENT[:40])


@pytest.mark.parametrize(
    "text",
    ["token:tok_01kdvdsdg0000g40r40m30e209", "chain:agent:billing-bot/search-1", "*", ""],
)
def test_ordinary_handles_are_not_mistaken_for_tokens(text: str) -> None:
    assert not token_format.contained(text)


@pytest.mark.parametrize("shown", ["{}", "was {}, and {}!", "é{}", "x{}"])
def test_the_shown_form_of_a_text_contains_no_token(shown: str) -> None:
    token = "rsc_agt_001GsBaniMdfHPrKhhwjnlS86reYjdQ5ckAqLoTS4ckok0FA7OvgX31DQnGk"
    text = shown.format(token, token[:40])
    assert token_format.contained(text)
    hidden = token_format.hidden(text)
    assert not token_format.contained(hidden)
    assert hidden == shown.format("rsc_agt_<secret>", "rsc_agt_<secret>")


def test_the_proof_of_possession_cannot_be_derived_from_stored_or_sent_values() -> None:
    """HMAC hashes a key of over 64 bytes first: the token must not be the key."""
    text = minted()
    proof, token_hash = token_format.possession(text), token_format.digest(text)
    assert len(proof) == token_format.POSSESSION_BYTES
    for key in (token_hash, text.encode()):
        assert proof != hmac.digest(key, b"rescind possession", "sha256")
    assert proof not in (token_hash, token_format.possession_hash(text))
    assert token_format.possession_hash(text) == hashlib.sha256(proof).digest()
