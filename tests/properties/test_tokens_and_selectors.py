"""A table of tokens and a pile of selectors, against a matcher that reads design 5 aloud."""

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, rule

from rescind.core import generation_table, handles, token_format
from rescind.core.handles import Handle, Selector
from rescind.core.revocation import Event, Revocation, hits
from rescind.core.token_format import Kind

EDGE_KEY = b"edge" * 8
SLOTS = 1 << 10
TENANTS = (None, "a", "b")

labels = st.dictionaries(st.sampled_from("kl"), st.sampled_from(["", "v", "x=y"]), max_size=2)


class Grant:
    """The expected facts of a token, and its parent."""

    def __init__(
        self,
        *,
        name: str,
        secret: str,
        kind: Kind,
        subject: str,
        tenant: str | None,
        labelled: dict[str, str],
        parent: "Grant | None",
        seq: int,
    ) -> None:
        self.name, self.secret, self.kind, self.subject = name, secret, kind, subject
        self.tenant, self.labelled, self.parent, self.seq = tenant, labelled, parent, seq
        self.handles: tuple[Handle, ...] = ()

    def family(self) -> "list[Grant]":
        """List the token and everything above it."""
        return [self, *(self.parent.family() if self.parent else [])]

    def is_named_by(self, handle: str) -> bool:  # noqa: PLR0911 a row of the table each
        """Read the table of design 5, one row after the other."""
        kind, _, value = handle.partition(":")
        family = self.family()
        match kind:
            case "*":
                return True
            case "token":
                return value == self.name
            case "tree":
                return any(value == above.name for above in family)
            case "subject":
                return value == self.subject
            case "chain":
                return any(value == above.subject for above in family)
            case "kind":
                return any(value == above.kind.value for above in family)
            case "tenant":
                return any(value == above.tenant for above in family)
            case _:
                key, _, text = value.partition("=")
                return any(above.labelled.get(key) == text for above in family)


class TokensAndSelectors(RuleBasedStateMachine):
    grants = Bundle("grants")
    selectors = Bundle("selectors")

    def __init__(self) -> None:
        super().__init__()
        self.seq = 0
        self.table: list[Grant] = []

    def add(self, grant: Grant) -> Grant:
        grant.handles = handles.of_token(
            token_id=grant.name,
            kind=grant.kind,
            subject=grant.subject,
            tenant=grant.tenant,
            client=None,
            session=None,
            labels=grant.labelled.items(),
            inherited=passed_on(grant.parent) if grant.parent else (),
        )
        self.table.append(grant)
        return grant

    @rule(
        target=grants,
        kind=st.sampled_from(Kind),
        random=st.binary(min_size=32, max_size=32),
        tenant=st.sampled_from(TENANTS),
        labelled=labels,
    )
    def issue(
        self, kind: Kind, random: bytes, tenant: str | None, labelled: dict[str, str]
    ) -> Grant:
        return self.add(self.grant(kind, random, tenant, labelled, parent=None))

    @rule(target=grants, parent=grants, random=st.binary(min_size=32, max_size=32), labelled=labels)
    def delegate(self, parent: Grant, random: bytes, labelled: dict[str, str]) -> Grant:
        return self.add(self.grant(parent.kind, random, None, labelled, parent=parent))

    def grant(
        self,
        kind: Kind,
        random: bytes,
        tenant: str | None,
        labelled: dict[str, str],
        *,
        parent: Grant | None,
    ) -> Grant:
        above = parent.subject if parent else "agent:x"
        return Grant(
            name=f"tok_{len(self.table)}",
            secret=token_format.mint(kind=kind, random=random, edge_key=EDGE_KEY).reveal(),
            kind=kind,
            subject=f"{above}/{len(self.table) % 3}",
            tenant=tenant,
            labelled=labelled,
            parent=parent,
            seq=self.seq,
        )

    @rule(target=selectors, grant=grants, data=st.data(), exact=st.booleans())
    def select(self, grant: Grant, data: st.DataObject, exact: bool) -> Selector:
        # From what a token has, or by chance: most selectors by chance alone would match nothing.
        by_chance = ["*", "kind:admin", "tenant:a", "label:k=v", "label:l=", "subject:agent:x/0"]
        names = data.draw(
            st.sets(st.sampled_from([*grant.handles, *by_chance]), min_size=1, max_size=3)
        )
        return handles.select(names, exact=exact)

    @rule(selector=consumes(selectors), effect=st.sampled_from(["revoke", "suspend"]))
    def an_event_hits_what_the_paper_says(self, selector: Selector, effect: str) -> None:
        self.seq += 1
        event = Event(self.seq, self.seq, 0, Revocation("rev", selector, effect, "", ""))
        named = set(selector.handles)
        for grant in self.table:
            spared = (
                "*" in named and grant.is_named_by("kind:admin") and "kind:admin" not in named
            ) or (effect == "revoke" and grant.seq >= self.seq)
            expected = all(grant.is_named_by(name) for name in named) and not spared
            hit = hits(event, handles=grant.handles, issued_seq=grant.seq, issued_at_us=0)
            assert hit is expected
            if hit:
                bumped = generation_table.slots_of([selector.anchor], SLOTS)
                assert set(bumped) <= set(generation_table.slots_of(grant.handles, SLOTS))

    @rule(grant=grants)
    def a_token_is_read_back_as_it_was_minted(self, grant: Grant) -> None:
        token = token_format.parse(grant.secret)
        assert token.kind is grant.kind
        assert token_format.genuine(token, [b"another", EDGE_KEY])

    @rule(selector=selectors)
    def its_anchor_is_one_of_its_handles(self, selector: Selector) -> None:
        assert selector.anchor in selector.handles


def passed_on(parent: Grant) -> list[Handle]:
    """Hand down what design 5 lets a child inherit: all but what names the parent alone."""
    alone = {"token", "subject"}
    return [handle for handle in parent.handles if handles.kind_of(handle) not in alone]


TestTokensAndSelectors = TokensAndSelectors.TestCase
