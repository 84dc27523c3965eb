"""A child never has more than its parent."""

from dataclasses import replace

import pytest

from rescind.core import delegation, handles
from rescind.core.conditions import Conditions
from rescind.core.delegation import Mandate, Share
from rescind.core.record import MAX_LABELS, MAX_LINEAGE, Record
from rescind.core.tokens import Kind

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
MANDATE = Mandate(("user:42", "agent:team/*"), 2)
SHARE = Share(
    subject="agent:o/search-1",
    kind=Kind.AGENT,
    scopes=("tools:call",),
    audience=(),
    labels=(),
    ttl_us=None,
    mandate=Mandate(),
)


def fields(share=SHARE, *, parent=PARENT, mandate=MANDATE, removed=()):
    found = delegation.excess(parent, mandate, share, removed=removed, at_us=NOW_US)
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
        {"mandate": Mandate(("agent:team/a/*", "user:42"), 1)},
        {"mandate": Mandate((), 0)},
    ],
)
def test_a_part_of_what_the_parent_has_may_be_handed_on(part):
    assert fields(replace(SHARE, **part)) == []


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
        ({"mandate": Mandate(("agent:*",))}, "may_speak_for"),
        ({"mandate": Mandate(("agent:o/*",))}, "may_speak_for"),
        ({"mandate": Mandate((), 2)}, "max_depth"),
    ],
)
def test_whatever_goes_beyond_the_parent_is_named(part, field):
    assert fields(replace(SHARE, **part)) == [field]


def test_everything_beyond_the_parent_is_named_at_once():
    wide = replace(SHARE, subject="user:1", scopes=("root",), audience=("x",), ttl_us=10**12)
    assert fields(wide) == ["subject", "scopes", "audience", "ttl"]


def test_a_parent_without_audience_is_good_everywhere_and_hands_on_any_part_of_it():
    anywhere = replace(PARENT, audience=frozenset())
    assert fields(replace(SHARE, audience=("billing",)), parent=anywhere) == []
    assert delegation.hand_down(anywhere, MANDATE, SHARE).audience == ()


def test_what_was_taken_from_the_parent_is_not_handed_on_in_any_part():
    def asks(*scopes: str):
        return fields(replace(SHARE, scopes=scopes), removed=("tools:call:github/*",))

    assert asks("tools:call:github/issues") == ["scopes"]
    assert asks("tools:*") == ["scopes"]
    assert asks("tools:call:*", "mail:send") == ["scopes"]
    assert asks("tools:call", "tools:call:jira") == []


def test_admin_tokens_are_not_delegated():
    assert "parent" in fields(parent=replace(PARENT, kind=Kind.ADMIN))


def test_a_session_hands_on_to_an_agent_or_to_a_session():
    session = replace(PARENT, kind=Kind.SESSION)
    assert fields(parent=session) == []
    assert fields(replace(SHARE, kind=Kind.SESSION), parent=session) == []
    assert fields(replace(SHARE, kind=Kind.SERVICE), parent=session) == ["kind"]


@pytest.mark.parametrize("max_depth", [0, None])
def test_a_lineage_ends_at_its_max_depth_and_at_sixteen(max_depth):
    parents = tuple(f"tok_{n}" for n in range(0 if max_depth == 0 else MAX_LINEAGE))
    last = replace(PARENT, lineage=parents, chain=parents)
    assert fields(parent=last, mandate=Mandate(max_depth=max_depth)) == ["parent"]


def test_depth_is_used_up_generation_by_generation():
    parent, mandate = PARENT, Mandate(max_depth=3)
    for left in (2, 1, 0):
        mandate = delegation.hand_down(parent, mandate, SHARE).mandate
        assert mandate.max_depth == left
    assert fields(parent=parent, mandate=mandate) == ["parent"]


def test_without_a_max_depth_the_lineage_s_limit_counts():
    assert delegation.hand_down(PARENT, Mandate(), SHARE).mandate.max_depth == MAX_LINEAGE - 2
    assert delegation.depth_left(PARENT, Mandate(max_depth=MAX_LINEAGE)) == MAX_LINEAGE - 1


def test_what_is_not_asked_for_is_not_had_but_audience_and_labels_are_the_parent_s():
    child = delegation.hand_down(PARENT, MANDATE, replace(SHARE, labels=(("step", "1"),)))
    assert child.scopes == ("tools:call",)
    assert child.audience == ("mail", "search")
    assert child.labels == (("step", "1"), ("team", "red"))
    assert child.mandate == Mandate((), 1)


def test_a_child_inherits_all_handles_but_those_of_its_parent_alone():
    assert set(delegation.inherited(PARENT.handles)) == set(PARENT.handles) - {
        "token:tok_p",
        "subject:agent:o",
    }
    assert {"tree:tok_p", "tree:tok_root", "chain:agent:o", "chain:agent:root", "kind:agent"} < set(
        delegation.inherited(PARENT.handles)
    )


BOUND = replace(PARENT, conditions=Conditions(("10.0.0.0/8",), (("region", "eu"),)))


def test_a_child_is_bound_as_its_parent_is_and_may_be_bound_more():
    free = delegation.hand_down(BOUND, MANDATE, SHARE)
    assert free.conditions == BOUND.conditions
    own = Conditions(("10.1.0.0/16",), (("tier", "prod"),))
    bound = delegation.hand_down(BOUND, MANDATE, replace(SHARE, conditions=own))
    assert bound.conditions == Conditions(("10.1.0.0/16",), (("region", "eu"), ("tier", "prod")))
    unbound = delegation.hand_down(PARENT, MANDATE, replace(SHARE, conditions=own))
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
def test_no_child_is_less_bound_than_its_parent(own: Conditions, field: str):
    found = delegation.excess(
        BOUND, MANDATE, replace(SHARE, conditions=own), removed=(), at_us=NOW_US
    )
    assert [each.field for each in found] == [field]
