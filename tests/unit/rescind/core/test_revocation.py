"""Which tokens an event concerns: positions decide, not clocks (design 5)."""

from dataclasses import replace

import pytest

from rescind.core import handles
from rescind.core.handles import Handle, Selector
from rescind.core.revocation import Event, Revocation, hits

AGENT = frozenset(map(Handle, ("*", "kind:agent", "tenant:acme", "token:a")))
ADMIN = frozenset(map(Handle, ("*", "kind:admin", "tenant:acme", "token:b")))
CREDENTIAL = frozenset(
    map(
        Handle,
        (
            *("*", "kind:service", "kind:sidecar", "tenant:acme", "label:k=v", "client:c"),
            *("token:c", "tree:c", "subject:service:s", "chain:service:s", "created_by:admin:a"),
        ),
    )
)
SEQ = 100


def event(*texts: str, effect: str = "revoke", issued_before_us: int | None = None) -> Event:
    return Event(
        epoch=1,
        seq=SEQ,
        at_us=0,
        revocation=Revocation(
            revocation_id="rev_1",
            selector=handles.select(texts, exact=True),
            effect=effect,
            reason="",
            actor="",
            issued_before_us=issued_before_us,
        ),
    )


def hit(
    revocation: Event,
    token: frozenset[Handle] = AGENT,
    *,
    issued_seq: int = 0,
    issued_at_us: int = 0,
) -> bool:
    return hits(revocation, handles=token, issued_seq=issued_seq, issued_at_us=issued_at_us)


@pytest.mark.parametrize(
    ("issued_seq", "is_hit"), [(0, True), (99, True), (100, False), (101, False)]
)
def test_a_revoke_hits_tokens_issued_below_its_own_position(issued_seq: int, is_hit: bool) -> None:
    assert hit(event("tenant:acme"), issued_seq=issued_seq) is is_hit


@pytest.mark.parametrize("effect", ["suspend", "narrow", "lift", "changed", "of the future"])
def test_every_other_effect_hits_tokens_whenever_issued(effect: str) -> None:
    assert hit(event("tenant:acme", effect=effect), issued_seq=SEQ + 1)


@pytest.mark.parametrize("effect", ["revoke", "suspend", "of the future"])
@pytest.mark.parametrize(("issued_at_us", "is_hit"), [(4, True), (5, False), (6, False)])
def test_only_an_explicit_cutoff_compares_times(
    effect: str, issued_at_us: int, is_hit: bool
) -> None:
    cut = event("tenant:acme", effect=effect, issued_before_us=5)
    assert hit(cut, issued_at_us=issued_at_us) is is_hit


def test_a_cutoff_of_zero_counts_as_a_cutoff() -> None:
    assert not hit(event("tenant:acme", issued_before_us=0), issued_at_us=0)


def test_both_cutoffs_must_be_passed() -> None:
    assert not hit(event("tenant:acme", issued_before_us=5), issued_seq=SEQ, issued_at_us=4)


def test_a_token_without_all_the_handles_is_not_hit() -> None:
    assert hit(event("tenant:acme", "kind:agent"))
    assert not hit(event("tenant:acme", "kind:service"))


def test_everything_spares_admins_unless_they_are_named() -> None:
    assert hit(event("*"))
    assert not hit(event("*"), ADMIN)
    assert not hit(event("*", "tenant:acme"), ADMIN)
    assert hit(event("*", "kind:admin"), ADMIN)
    assert not hit(event("*", "kind:admin"), AGENT)


def test_admins_are_hit_by_what_names_them_in_any_other_way() -> None:
    assert hit(event("tenant:acme"), ADMIN)
    assert hit(event("token:b"), ADMIN)


@pytest.mark.parametrize("effect", ["revoke", "suspend", "narrow"])
@pytest.mark.parametrize(
    ("selector", "is_hit"),
    [
        (("*",), False),
        (("kind:service",), False),
        (("tenant:acme",), False),
        (("label:k=v", "client:c", "*"), False),
        (("kind:sidecar",), True),
        (("*", "kind:sidecar"), True),
        (("token:c",), True),
        (("tree:c", "tenant:acme"), True),
        (("subject:service:s",), True),
        (("chain:service:s", "*"), True),
        (("created_by:admin:a",), True),
    ],
)
def test_wide_handles_spare_the_credentials_of_sidecars_unless_they_are_named(
    selector: tuple[str, ...], is_hit: bool, effect: str
) -> None:
    assert hit(event(*selector, effect=effect), CREDENTIAL) is is_hit
    agent = CREDENTIAL - {Handle("kind:sidecar")}
    assert hit(event(*selector, effect=effect), agent) is ("kind:sidecar" not in selector)


def test_an_unknown_handle_spares_no_credential() -> None:
    newer = Event(1, SEQ, 0, replace(event("*").revocation, selector=Selector((Handle("new:x"),))))
    assert hit(newer, CREDENTIAL | {Handle("new:x")})
