"""A child never has more than its parent."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest

from rescind.core import delegation, handles
from rescind.core.conditions import UNCONDITIONAL, Conditions
from rescind.core.delegation import ChildGrant, DelegationLimits, Right
from rescind.core.record import MAX_LABELS, MAX_LINEAGE, Record
from rescind.core.token_format import Kind

NOW_US = 1_000_000_000
PARENT = Record(
    token_hash=bytes(32),
    epoch=1,
    as_of=7,
    token_id="tok_p",
    kind=Kind.AGENT,
    subject="agent:o",
    granted=frozenset({"tools:*", "mail:send"}),
    audience=frozenset({"mail", "search"}),
    issued_at_us=0,
    issued_seq=3,
    not_before_us=0,
    expires_at_us=NOW_US + 60_000_000,
    handles=handles.of_token(
        token_id="tok_p",
        kind="agent",
        subject="agent:o",
        tenant="t",
        client="c",
        session="s",
        labels=[("team", "red")],
        inherited=[handles.Handle("tree:tok_root"), handles.Handle("chain:agent:root")],
    ),
    tenant="t",
    labels=(("team", "red"),),
    lineage=("tok_root",),
    chain=("agent:root",),
)
LIMITS = DelegationLimits(("user:42", "agent:team/*"), 2, self_service=tuple(Right))
REQUESTED = ChildGrant(
    subject="agent:o/search-1",
    kind=Kind.AGENT,
    scopes=("tools:call",),
    audience=(),
    labels=(),
    ttl_us=None,
    limits=DelegationLimits(),
)


def fields(
    requested: ChildGrant = REQUESTED,
    *,
    parent: Record = PARENT,
    limits: DelegationLimits = LIMITS,
    removed: Collection[str] = (),
) -> list[str]:
    found = delegation.violations(parent, limits, requested, removed=removed, at_us=NOW_US)
    return [each.field for each in found]


@pytest.mark.parametrize(
    "part",
    [
        {},
        {"scopes": ()},
        {"scopes": ("tools:*", "mail:send")},
        {"audience": ("mail",)},
        {"audience": ("mail", "search")},
        {"ttl_us": 60_000_000},
        {"labels": (("team", "red"), ("step", "1"))},
        {"subject": "user:42"},
        {"subject": "agent:team/anybody/else"},
        {"limits": DelegationLimits(("agent:team/a/*", "user:42"), 1)},
        {"limits": DelegationLimits((), 0)},
    ],
)
def test_a_part_of_the_grant_of_the_parent_may_be_delegated(part: dict[str, Any]) -> None:
    assert fields(replace(REQUESTED, **part)) == []


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"scopes": ("mail:read",)}, "scopes"),
        ({"scopes": ("mail:*",)}, "scopes"),
        ({"scopes": ("*",)}, "scopes"),
        ({"audience": ("billing",)}, "audience"),
        ({"audience": ("mail", "billing")}, "audience"),
        ({"ttl_us": 60_000_001}, "ttl"),
        ({"labels": (("team", "blue"),)}, "labels.team"),
        ({"labels": tuple((f"k{n}", "") for n in range(MAX_LABELS))}, "labels"),
        ({"kind": Kind.SERVICE}, "kind"),
        ({"kind": Kind.ADMIN}, "kind"),
        ({"subject": "agent:o"}, "subject"),
        ({"subject": "agent:o/"}, "subject"),
        ({"subject": "agent:o/a/b"}, "subject"),
        ({"subject": "agent:other/a"}, "subject"),
        ({"subject": "agent:root/a"}, "subject"),
        ({"subject": "user:421"}, "subject"),
        ({"limits": DelegationLimits(("agent:*",))}, "may_speak_for"),
        ({"limits": DelegationLimits(("agent:o/*",))}, "may_speak_for"),
        ({"limits": DelegationLimits((), 2)}, "max_depth"),
    ],
)
def test_each_field_that_exceeds_the_parent_is_named(part: dict[str, Any], field: str) -> None:
    assert fields(replace(REQUESTED, **part)) == [field]


@pytest.mark.parametrize("key", ["Team", "TEAM", "\uff54eam", "tea\u217f"])
def test_a_child_cannot_add_a_label_whose_key_is_confusable_with_one_of_its_parent(
    key: str,
) -> None:
    for labels in ([(key, "blue")], [("team", "red"), (key, "red")]):
        assert fields(replace(REQUESTED, labels=tuple(labels))) == [f"labels.{key}"]


def test_confusable_labels_of_an_existing_parent_are_delegated() -> None:
    parent = replace(PARENT, labels=(("Team", "a"), ("team", "red")))
    assert fields(replace(REQUESTED, labels=(("step", "1"),)), parent=parent) == []
    assert fields(replace(REQUESTED, labels=(("Team", "a"),)), parent=parent) == []
    assert fields(replace(REQUESTED, labels=(("TEAM", "a"),)), parent=parent) == ["labels.TEAM"]


def test_all_fields_that_exceed_the_parent_are_named_at_once() -> None:
    wide = replace(REQUESTED, subject="user:1", scopes=("root",), audience=("x",), ttl_us=10**12)
    assert fields(wide) == ["subject", "scopes", "audience", "ttl"]


def test_a_parent_without_audience_is_valid_everywhere_and_may_delegate_any_audience() -> None:
    anywhere = replace(PARENT, audience=frozenset())
    assert fields(replace(REQUESTED, audience=("billing",)), parent=anywhere) == []
    assert delegation.complete(anywhere, LIMITS, REQUESTED).audience == ()


def test_no_part_of_a_removed_scope_can_be_delegated() -> None:
    def asks(*scopes: str) -> list[str]:
        return fields(replace(REQUESTED, scopes=scopes), removed=("tools:call:github/*",))

    assert asks("tools:call:github/issues") == ["scopes"]
    assert asks("tools:*") == ["scopes"]
    assert asks("tools:call:*", "mail:send") == ["scopes"]
    assert asks("tools:call", "tools:call:jira") == []


UNBOUND = replace(PARENT, audience=frozenset())


@pytest.mark.parametrize(
    ("audience", "verifier", "given", "expected"),
    [
        ((), (), None, set(Right)),
        (("search",), (), None, set()),
        (("rescind", "search"), (), None, set(Right)),
        ((), (("region", "eu"),), None, set()),
        (("rescind",), (("region", "eu"),), None, set()),
        (("search",), (), (Right.ROTATE,), {Right.ROTATE}),
        ((), (), (), set()),
        ((), (("region", "eu"),), (Right.DELEGATE,), {Right.DELEGATE}),
    ],
)
def test_a_token_bound_elsewhere_has_only_explicitly_given_rights_at_the_authority(
    audience: tuple[str, ...],
    verifier: tuple[tuple[str, str], ...],
    given: tuple[Right, ...] | None,
    expected: set[Right],
) -> None:
    bound = Conditions((), verifier) if verifier else UNCONDITIONAL
    record = replace(PARENT, audience=frozenset(audience), conditions=bound)
    assert delegation.rights(record, DelegationLimits(self_service=given)) == expected
    may = Right.DELEGATE in expected
    requested = replace(REQUESTED, audience=audience, conditions=bound)
    found = fields(requested, parent=record, limits=replace(LIMITS, self_service=given))
    assert found == ([] if may else ["parent"])


def test_a_child_gets_only_requested_rights_of_its_parent_if_those_were_chosen() -> None:
    chosen = replace(LIMITS, self_service=(Right.DELEGATE, Right.ROTATE))

    def child(*rights: Right) -> ChildGrant:
        return replace(REQUESTED, limits=DelegationLimits(self_service=rights))

    assert fields(child(Right.ROTATE), limits=chosen) == []
    assert fields(child(Right.SESSIONS, Right.ROTATE), limits=chosen) == ["self_service"]
    assert delegation.complete(PARENT, chosen, REQUESTED).limits.self_service == ()
    handed = delegation.complete(PARENT, chosen, child(Right.ROTATE)).limits.self_service
    assert handed == (Right.ROTATE,)
    assert delegation.complete(UNBOUND, replace(LIMITS, self_service=None), REQUESTED).limits == (
        DelegationLimits((), 1)
    )


def test_a_child_has_the_rotation_policy_of_its_parent() -> None:
    strict = replace(LIMITS, self_service=None, max_overlap_us=7, reuse_denies=True)
    asked = replace(REQUESTED, limits=DelegationLimits(max_overlap_us=10**9))
    limits = delegation.complete(UNBOUND, strict, asked).limits
    assert (limits.max_overlap_us, limits.reuse_denies) == (7, True)


def test_admin_tokens_are_not_delegated() -> None:
    assert "parent" in fields(parent=replace(PARENT, kind=Kind.ADMIN))


def test_a_session_can_delegate_to_an_agent_but_to_no_session_of_any_subject() -> None:
    session = replace(PARENT, kind=Kind.SESSION)
    assert fields(parent=session) == []
    for subject in ("agent:o/search-1", "user:42"):
        nested = replace(REQUESTED, kind=Kind.SESSION, subject=subject)
        assert fields(nested, parent=session) == ["kind"]
    assert fields(replace(REQUESTED, kind=Kind.SERVICE), parent=session) == ["kind"]


@pytest.mark.parametrize("max_depth", [0, None])
def test_a_lineage_is_limited_by_its_max_depth_and_to_sixteen(max_depth: int | None) -> None:
    parents = tuple(f"tok_{n}" for n in range(0 if max_depth == 0 else MAX_LINEAGE))
    last = replace(UNBOUND, lineage=parents, chain=parents)
    assert fields(parent=last, limits=DelegationLimits(max_depth=max_depth)) == ["parent"]


def test_each_generation_uses_up_one_level_of_depth() -> None:
    parent, limits = UNBOUND, DelegationLimits(max_depth=3)
    for left in (2, 1, 0):
        limits = delegation.complete(parent, limits, REQUESTED).limits
        assert limits.max_depth == left
    assert fields(parent=parent, limits=limits) == ["parent"]


def test_without_a_max_depth_the_limit_of_a_lineage_applies() -> None:
    assert (
        delegation.complete(PARENT, DelegationLimits(), REQUESTED).limits.max_depth
        == MAX_LINEAGE - 2
    )
    assert delegation.depth_left(PARENT, DelegationLimits(max_depth=MAX_LINEAGE)) == MAX_LINEAGE - 1


def test_a_child_has_only_what_was_requested_except_inherited_audience_and_labels() -> None:
    child = delegation.complete(PARENT, LIMITS, replace(REQUESTED, labels=(("step", "1"),)))
    assert child.scopes == ("tools:call",)
    assert child.audience == ("mail", "search")
    assert child.labels == (("step", "1"), ("team", "red"))
    assert child.limits == DelegationLimits((), 1, self_service=())


def test_a_child_inherits_all_handles_except_those_that_name_only_its_parent() -> None:
    assert set(delegation.inherited(PARENT.handles)) == set(PARENT.handles) - {
        "token:tok_p",
        "subject:agent:o",
    }
    assert {"tree:tok_p", "tree:tok_root", "chain:agent:o", "chain:agent:root", "kind:agent"} < set(
        delegation.inherited(PARENT.handles)
    )


BOUND = replace(PARENT, conditions=Conditions(("10.0.0.0/8",), (("region", "eu"),)))


def test_a_child_has_the_conditions_of_its_parent_and_may_have_more() -> None:
    free = delegation.complete(BOUND, LIMITS, REQUESTED)
    assert free.conditions == BOUND.conditions
    own = Conditions(("10.1.0.0/16",), (("tier", "prod"),))
    bound = delegation.complete(BOUND, LIMITS, replace(REQUESTED, conditions=own))
    assert bound.conditions == Conditions(("10.1.0.0/16",), (("region", "eu"), ("tier", "prod")))
    unbound = delegation.complete(PARENT, LIMITS, replace(REQUESTED, conditions=own))
    assert unbound.conditions == own


@pytest.mark.parametrize(
    ("own", "field"),
    [
        (Conditions(("11.0.0.0/8",)), "addresses"),
        (Conditions(("10.0.0.0/7",)), "addresses"),
        (Conditions(("10.1.0.0/16", "2001:db8::/32")), "addresses"),
        (Conditions(verifier=(("region", "us"),)), "verifier.region"),
    ],
)
def test_no_child_has_weaker_conditions_than_its_parent(own: Conditions, field: str) -> None:
    found = delegation.violations(
        BOUND, LIMITS, replace(REQUESTED, conditions=own), removed=(), at_us=NOW_US
    )
    assert [each.field for each in found] == [field]
