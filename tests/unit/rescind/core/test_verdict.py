"""What a check answers, and which reason is named when several apply."""

from dataclasses import replace

import pytest
from tests.support.messages import BARE_RECORD, RECORD

from rescind.core import verdict
from rescind.core.conditions import Conditions
from rescind.core.revocation import Restriction
from rescind.core.verdict import Denied, Reason


def test_the_reasons_are_those_of_the_contract() -> None:
    assert [str(reason) for reason in Reason] == [
        "missing",
        "malformed",
        "unknown",
        "expired",
        "not_yet_valid",
        "revoked",
        "suspended",
        "wrong_audience",
        "wrong_verifier",
        "wrong_address",
        "insufficient_scope",
        "no_lease",
        "unavailable",
    ]


@pytest.mark.parametrize(
    ("effects", "reason"),
    [
        ((), None),
        (("narrow",), None),
        (("narrow", "narrow"), None),
        (("revoke",), Reason.REVOKED),
        (("suspend",), Reason.SUSPENDED),
        (("narrow", "suspend"), Reason.SUSPENDED),
        (("suspend", "revoke"), Reason.REVOKED),
        (("of the future",), Reason.REVOKED),
        (("of the future", "suspend"), Reason.SUSPENDED),
        (("of the future", "narrow"), Reason.REVOKED),
        (("Narrow",), Reason.REVOKED),
        (("",), Reason.REVOKED),
        (("lift",), Reason.REVOKED),
        (("ended",), Reason.EXPIRED),
        (("ended", "narrow"), Reason.EXPIRED),
        (("ended", "suspend"), Reason.SUSPENDED),
        (("ended", "revoke"), Reason.REVOKED),
        (("ended", "of the future"), Reason.REVOKED),
        (("Ended",), Reason.REVOKED),
    ],
)
def test_a_final_revocation_takes_precedence_over_one_that_can_end(
    effects: tuple[str, ...], reason: Reason | None
) -> None:
    held = replace(
        BARE_RECORD, restrictions=tuple(Restriction("rev", effect, 1) for effect in effects)
    )
    assert held.live is (reason is None)
    assert verdict.judge_state(held) == (reason and Denied(reason))


@pytest.mark.parametrize(
    ("earliest_us", "latest_us", "reason"),
    [
        (100, 199, None),
        (150, 150, None),
        (99, 99, Reason.NOT_YET_VALID),
        (99, 150, Reason.NOT_YET_VALID),
        (200, 200, Reason.EXPIRED),
        (150, 200, Reason.EXPIRED),
        (99, 200, Reason.EXPIRED),
    ],
)
def test_uncertainty_about_the_time_denies(
    earliest_us: int, latest_us: int, reason: Reason | None
) -> None:
    record = replace(BARE_RECORD, not_before_us=100, expires_at_us=200)
    judged = verdict.timely(record, earliest_us=earliest_us, latest_us=latest_us)
    assert judged == (reason and Denied(reason))


@pytest.mark.parametrize(
    ("require", "audience", "reason"),
    [
        (set(), "search", None),
        ({"tools:call"}, "search", None),
        ({"tools:call", "files:read"}, "billing", None),
        ({"tools:call"}, "elsewhere", Reason.WRONG_AUDIENCE),
        ({"tools:delete"}, "elsewhere", Reason.WRONG_AUDIENCE),
        (set(), "", Reason.WRONG_AUDIENCE),
        (set(), "Search", Reason.WRONG_AUDIENCE),
        ({"tools:delete"}, "search", Reason.INSUFFICIENT_SCOPE),
        ({"tools:call", "tools:delete"}, "search", Reason.INSUFFICIENT_SCOPE),
        ({"tools"}, "search", Reason.INSUFFICIENT_SCOPE),
    ],
)
def test_audience_and_scopes_are_checked_on_every_call(
    require: set[str], audience: str, reason: Reason | None
) -> None:
    judged = verdict.permitted(RECORD, require=require, audience=audience)
    assert judged == (reason and Denied(reason))


def test_a_token_without_audience_is_valid_at_every_service() -> None:
    assert verdict.permitted(BARE_RECORD, require=(), audience="any") is None


def test_a_token_without_scopes_is_denied_wherever_a_scope_is_required() -> None:
    judged = verdict.permitted(BARE_RECORD, require={"x"}, audience="any")
    assert judged == Denied(Reason.INSUFFICIENT_SCOPE)


@pytest.mark.parametrize(
    ("granted", "removed", "require", "allowed"),
    [
        ({"tools:*"}, (), {"tools:call:github/issues"}, True),
        ({"tools:*"}, (), {"tools:call:*"}, True),
        ({"tools:call:*"}, (), {"tools:*"}, False),
        ({"tools:*"}, (), {"tools:"}, True),
        ({"tools:*"}, (), {"tools"}, False),
        ({"tools:*", "files:read"}, (), {"tools:call", "files:read"}, True),
        ({"tools:*"}, (), {"tools:call", "files:read"}, False),
        ({"tools:*"}, ("tools:call:github/*",), {"tools:call:github/issues"}, False),
        ({"tools:*"}, ("tools:call:github/*",), {"tools:call:jira/issues"}, True),
        ({"tools:*"}, ("tools:call:github/*",), {"tools:*"}, False),
        ({"files:read"}, ("files:*",), {"files:read"}, False),
        ({"files:read"}, ("*",), {"files:read"}, False),
        ({"files:read"}, ("*",), set(), True),
        ({"files:read"}, ("files:write",), {"files:read"}, True),
    ],
)
def test_a_required_scope_must_be_granted_whole_with_no_part_removed(
    granted: set[str], removed: tuple[str, ...], require: set[str], allowed: bool
) -> None:
    record = replace(BARE_RECORD, granted=frozenset(granted), removed=removed)
    judged = verdict.permitted(record, require=require, audience="any")
    assert judged == (None if allowed else Denied(Reason.INSUFFICIENT_SCOPE))


@pytest.mark.parametrize(
    ("granted", "removed", "left"),
    [
        ({"a", "b"}, (), {"a", "b"}),
        ({"a", "b"}, ("b",), {"a"}),
        ({"search:read", "tools:call:github"}, ("tools:*",), {"search:read"}),
        ({"tools:*", "tools:read"}, ("tools:call:*",), {"tools:read"}),
        ({"tools:*"}, ("tools:call",), set()),
        ({"*"}, ("mail:send",), set()),
        ({"*", "mail:send", "mail:read"}, ("mail:send",), {"mail:read"}),
        ({"a:b"}, ("a", "a:b:c", "a:b:*", "a:b/*"), {"a:b"}),
        ({"a:b"}, ("*",), set()),
    ],
)
def test_the_scopes_of_a_record_are_the_granted_ones_with_no_part_removed(
    granted: set[str], removed: tuple[str, ...], left: set[str]
) -> None:
    record = replace(BARE_RECORD, granted=frozenset(granted), removed=removed)
    assert (record.scopes, record.granted) == (frozenset(left), frozenset(granted))
    assert record.removed == removed
    assert all(record.grants([scope]) for scope in record.scopes)
    assert not any(record.grants([scope]) for scope in record.granted - record.scopes)


def test_a_copied_record_keeps_its_granted_scopes() -> None:
    narrowed = replace(BARE_RECORD, granted=frozenset({"a:*", "b"}), removed=("a:x",))
    lifted = replace(narrowed, removed=())
    assert (narrowed.scopes, lifted.scopes) == (frozenset({"b"}), frozenset({"a:*", "b"}))


EU = frozenset({("region", "eu"), ("tier", "prod")})


@pytest.mark.parametrize(
    ("addresses", "address", "admitted"),
    [
        ((), None, True),
        (("10.0.0.0/8",), "10.9.8.7", True),
        (("10.0.0.0/8",), "11.0.0.1", False),
        (("10.0.0.0/8",), None, False),
        (("10.0.0.0/8",), "somewhere", False),
        (("10.0.0.0/8",), "::ffff:10.1.2.3", True),
        (("10.0.0.0/8", "2001:db8::/32"), "2001:db8::7", True),
        (("2001:db8::/32",), "10.1.2.3", False),
    ],
)
def test_a_token_is_valid_only_from_its_networks(
    addresses: tuple[str, ...], address: str | None, admitted: bool
) -> None:
    record = replace(BARE_RECORD, conditions=Conditions(addresses))
    judged = verdict.permitted(record, require=(), audience="any", address=address)
    assert judged == (None if admitted else Denied(Reason.WRONG_ADDRESS))


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ((), True),
        ((("region", "eu"),), True),
        ((("region", "eu"), ("tier", "prod")), True),
        ((("region", "us"),), False),
        ((("region", "eu"), ("gpu", "yes")), False),
    ],
)
def test_a_token_is_valid_at_verifiers_with_all_of_its_labels(
    wanted: tuple[tuple[str, str], ...], fits: bool
) -> None:
    record = replace(BARE_RECORD, conditions=Conditions(verifier=wanted))
    judged = verdict.permitted(record, require=(), audience="any", labels=EU)
    assert judged == (None if fits else Denied(Reason.WRONG_VERIFIER))


def test_a_wrong_verifier_is_reported_before_a_wrong_address_of_the_caller() -> None:
    record = replace(BARE_RECORD, conditions=Conditions(("10.0.0.0/8",), (("region", "us"),)))
    judged = verdict.permitted(record, require={"x"}, audience="any", address="192.0.2.1")
    assert judged == Denied(Reason.WRONG_VERIFIER)
