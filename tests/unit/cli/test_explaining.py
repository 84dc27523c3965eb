"""Why a token is denied: what `rescind explain` makes of what the authority says."""

from typing import Any

from rescind_cli import explaining

AT = "2026-01-01T00:00:00Z"
SEEN: dict[str, Any] = {
    "holds": [],
    "scopes": ["read"],
    "scopes_left": ["read"],
    "audience": [],
    "not_before": None,
    "expires_at": "2026-01-01T01:00:00Z",
    "at": AT,
    "ended_seq": None,
    "ended_by": None,
}


def test_a_token_with_time_left_that_no_event_ended_has_no_cause():
    assert explaining.causes(SEEN) == []
    assert explaining.may(SEEN)["until"] == SEEN["expires_at"]


def test_a_token_that_was_ended_early_is_expired_though_its_time_is_not_over():
    seen = SEEN | {"ended_seq": 7, "ended_by": "rev_7"}
    (cause,) = explaining.causes(seen)
    assert (cause.reason, cause.where) == ("expired", "change rev_7, seq 7")
    assert explaining.may(seen)["until"] is None


def test_an_end_of_which_no_position_was_kept_names_none():
    (cause,) = explaining.causes(SEEN | {"ended_seq": 0})
    assert (cause.reason, cause.where) == ("expired", "")


def test_an_authority_that_does_not_say_is_taken_by_the_time():
    older = {name: value for name, value in SEEN.items() if not name.startswith("ended")}
    assert explaining.causes(older) == []
    (cause,) = explaining.causes(older | {"at": "2026-01-01T02:00:00Z"})
    assert cause.reason == "expired"
