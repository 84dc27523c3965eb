"""The posture of a verifier without a lease."""

import pytest

from rescind.core import posture
from rescind.core.posture import MAX_GRACE_NS, STRICT, Posture
from rescind.core.token_format import Kind
from rescind.errors import PostureError

S = 10**9


def test_strict_has_no_grace_for_any_kind() -> None:
    assert Posture.parse("strict") == STRICT
    assert STRICT.strict
    assert [STRICT.grace_ns(kind) for kind in Kind] == [0] * len(Kind)


def test_grace_is_for_the_kinds_it_names_and_never_for_agents_unless_named() -> None:
    found = Posture.parse("grace:session=60s,service=5m")
    assert (found.grace_ns(Kind.SESSION), found.grace_ns(Kind.SERVICE)) == (60 * S, 300 * S)
    assert found.grace_ns(Kind.AGENT) == 0
    assert found.longest_grace_ns == 300 * S
    assert not found.strict


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("strict", "strict"),
        ("grace:session=60s,service=5m", "grace:service=5m,session=1m"),
        ("grace:agent=250ms", "grace:agent=250ms"),
        ("grace:personal=60m", "grace:personal=1h"),
    ],
)
def test_a_posture_has_one_canonical_form(text: str, canonical: str) -> None:
    assert str(Posture.parse(text)) == canonical
    assert Posture.parse(canonical) == Posture.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "Strict", "lenient", "grace", "grace:", "grace:session", "grace:session=60"),
        *("grace:robot=1s", "grace:session=0s", "grace:session=-1s", "grace:session=61m"),
        *("grace:session=1s,session=2s", "grace:session=1s,", "grace:session=1d"),
    ],
)
def test_an_invalid_posture_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(PostureError, match=r"grace|hour|twice"):
        Posture.parse(text)


def test_an_unknown_posture_counts_as_the_longest_grace() -> None:
    assert posture.assumed_grace_ns("strict") == 0
    assert posture.assumed_grace_ns("grace:session=1s") == S
    assert posture.assumed_grace_ns("patient:everything") == MAX_GRACE_NS
