"""Why a token is denied: what `rescind explain` makes of what the authority says."""

from typing import Any, cast

from rescind.client.admin import TokenDetails
from rescind_cli.commands.tokens import denial_causes
from rescind_cli.commands.tokens.denial_causes import DenialCause

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


def causes(seen: dict[str, Any]) -> list[DenialCause]:
    return denial_causes.causes(cast("TokenDetails", seen))


def may(seen: dict[str, Any]) -> dict[str, Any]:
    return denial_causes.remaining_power(cast("TokenDetails", seen))


def test_a_token_with_time_left_that_no_event_ended_has_no_cause() -> None:
    assert causes(SEEN) == []
    assert may(SEEN)["until"] == SEEN["expires_at"]


def test_a_token_that_was_ended_early_is_expired_though_its_time_is_not_over() -> None:
    seen = SEEN | {"ended_seq": 7, "ended_by": "rev_7"}
    (cause,) = causes(seen)
    assert (cause.reason, cause.where) == ("expired", "change rev_7, seq 7")
    assert may(seen)["until"] is None


def test_the_reason_of_an_early_end_is_shown_if_the_authority_knows_it() -> None:
    seen = SEEN | {"ended_seq": 7, "ended_by": "rev_7", "ended_reason": "it was not used"}
    assert [cause.why for cause in causes(seen)] == ["it was not used"]


def test_an_end_without_a_stored_position_names_no_position() -> None:
    (cause,) = causes(SEEN | {"ended_seq": 0})
    assert (cause.reason, cause.where) == ("expired", "")


def test_a_rotated_secret_is_explained_by_its_rotation_and_not_by_a_short_ttl() -> None:
    seen = SEEN | {
        "token_id": "tok_1",
        "rotated_at": "2025-12-31T23:00:00Z",
        "expires_at": "2025-12-31T23:00:00Z",
        "ended_seq": 7,
        "ended_by": "rev_7",
    }
    (cause,) = causes(seen)
    assert (cause.reason, cause.where) == ("expired", "change rev_7, seq 7")
    assert "was replaced at 2025-12-31T23:00:00Z" in cause.meaning
    assert "rescind tokens rotate tok_1" in cause.advice
    assert "--ttl" not in cause.advice
    assert may(seen)["until"] is None


def test_a_rotated_secret_within_its_overlap_has_no_cause() -> None:
    assert causes(SEEN | {"rotated_at": AT}) == []


def test_without_an_end_from_an_older_authority_the_time_of_expiry_decides() -> None:
    older = {name: value for name, value in SEEN.items() if not name.startswith("ended")}
    assert causes(older) == []
    (cause,) = causes(older | {"at": "2026-01-01T02:00:00Z"})
    assert cause.reason == "expired"
