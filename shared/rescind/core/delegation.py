"""What a token may hand on: a child never has more than its parent (design 5).

Nothing here grants. A parent's record says what there is, its mandate how far that may go, and
`excess` names whatever a share asks beyond them. What a child does not ask for it does not get,
but for what it cannot be without: the parent's audience, labels, end and handles.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from rescind.core import powers, scopes
from rescind.core.conditions import UNCONDITIONAL, Conditions
from rescind.core.handles import Handle, kind_of
from rescind.core.record import MAX_LABELS, MAX_LINEAGE, Record
from rescind.core.tokens import Kind

_OF_ONE_TOKEN = frozenset({"token", "subject"})
_US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class Mandate:
    """How far a token's power may go.

    `may_speak_for` are patterns, as scopes have them, of subjects besides `<own subject>/<name>`.
    `max_depth` counts the generations below it; None means as many as a lineage can have.
    """

    may_speak_for: tuple[str, ...] = ()
    max_depth: int | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """What a child is to have. An empty audience, no `ttl_us` and no depth: as the parent can."""

    subject: str
    kind: Kind
    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    ttl_us: int | None
    mandate: Mandate
    conditions: Conditions = UNCONDITIONAL


@dataclass(frozen=True, slots=True)
class Excess:
    """One thing that a share asks for and its parent cannot give."""

    field: str
    detail: str


def excess(
    parent: Record, mandate: Mandate, share: Share, *, removed: Collection[str], at_us: int
) -> tuple[Excess, ...]:
    """Name everything that goes beyond the parent; nothing means that it may be handed on.

    `removed` are the scopes that a `narrow` took from the parent. Some narrow the parent alone
    (`exact`), so the child must not be given them in the first place.
    """
    return (
        *_too_deep(parent, mandate, share),
        *_of_another(parent, mandate, share),
        *_too_wide(parent, share, removed),
        *_too_long(parent, share, at_us),
        *_relabelled(parent, share),
        *_less_bound(parent, share),
    )


def hand_down(parent: Record, mandate: Mandate, share: Share) -> Share:
    """Complete a share without excess by what its parent hands down."""
    left = depth_left(parent, mandate)
    depth = share.mandate.max_depth
    return replace(
        share,
        audience=share.audience or tuple(sorted(parent.audience)),
        labels=tuple(sorted({*parent.labels, *share.labels})),
        conditions=_bound(parent.conditions, share.conditions),
        mandate=replace(share.mandate, max_depth=left - 1 if depth is None else depth),
    )


def depth_left(parent: Record, mandate: Mandate) -> int:
    """Count the generations that may still come below a token."""
    room = MAX_LINEAGE - len(parent.lineage)
    return room if mandate.max_depth is None else min(room, mandate.max_depth)


def inherited(handles: Collection[Handle]) -> tuple[Handle, ...]:
    """Choose the handles that a child inherits: all but those of its parent alone."""
    return tuple(handle for handle in handles if kind_of(handle) not in _OF_ONE_TOKEN)


def may_speak_for(parent: Record, mandate: Mandate, subject: str) -> bool:
    """Say whether a parent may hand its power to this subject."""
    start, slash, name = subject.rpartition("/")
    own = start == parent.subject and bool(slash and name)
    return own or scopes.covers(mandate.may_speak_for, subject)


def _too_deep(parent: Record, mandate: Mandate, share: Share) -> Iterator[Excess]:
    left = depth_left(parent, mandate)
    if parent.kind is Kind.ADMIN:
        yield Excess("parent", "admin tokens are not delegated; issue a token instead")
    elif powers.is_credential(parent.granted):
        yield Excess("parent", "the credentials of sidecars are not delegated")
    elif left < 1:
        yield Excess(
            "parent",
            "this token may not be delegated (any further): its max_depth is used up"
            if mandate.max_depth is not None
            else f"a lineage has at most {MAX_LINEAGE} ancestors, this would be one more",
        )
    elif share.mandate.max_depth is not None and share.mandate.max_depth > left - 1:
        yield Excess("max_depth", f"the parent leaves {left - 1}")


def _of_another(parent: Record, mandate: Mandate, share: Share) -> Iterator[Excess]:
    # An agent is what posture spares least; any other kind might outlive a lease (design 7).
    if share.kind not in {Kind.AGENT, parent.kind}:
        yield Excess("kind", f"a child is an agent, or of its parent's kind ({parent.kind})")
    if not may_speak_for(parent, mandate, share.subject):
        allowed = " or ".join((f"{parent.subject}/<name>", *mandate.may_speak_for))
        yield Excess("subject", f"the parent may speak for {allowed}, where a name has no `/`")
    for pattern in share.mandate.may_speak_for:
        if not scopes.covers(mandate.may_speak_for, pattern):
            yield Excess("may_speak_for", f"the parent's own may_speak_for lacks {pattern}")


def _too_wide(parent: Record, share: Share, removed: Collection[str]) -> Iterator[Excess]:
    for scope in share.scopes:
        if powers.own(scope):
            yield Excess("scopes", f"{scope} has power over rescind itself: that is not delegated")
        elif not scopes.covers(parent.granted, scope):
            yield Excess("scopes", f"the parent does not have {scope}")
        elif scopes.meets(removed, scope):
            yield Excess("scopes", f"{scope} was taken from the parent, or a part of it")
    if parent.audience:
        for service in share.audience:
            if service not in parent.audience:
                yield Excess("audience", f"the parent is not good at {service}")


def _too_long(parent: Record, share: Share, at_us: int) -> Iterator[Excess]:
    left_us = parent.expires_at_us - at_us
    if share.ttl_us is not None and share.ttl_us > left_us:
        yield Excess(
            "ttl",
            f"the parent ends in {left_us / _US_PER_S:.3f} seconds; without a ttl the child lives "
            "an hour, or as long as its parent",
        )


def _relabelled(parent: Record, share: Share) -> Iterator[Excess]:
    theirs = dict(parent.labels)
    for key, text in share.labels:
        if theirs.get(key, text) != text:
            yield Excess(f"labels.{key}", "the parent has it with another value: only add labels")
    if len({**theirs, **dict(share.labels)}) > MAX_LABELS:
        yield Excess("labels", f"at most {MAX_LABELS} labels, the parent's included")


def _less_bound(parent: Record, share: Share) -> Iterator[Excess]:
    if not share.conditions.within(parent.conditions):
        allowed = ", ".join(parent.conditions.addresses)
        yield Excess("addresses", f"the parent is good from {allowed} only")
    theirs = dict(parent.conditions.verifier)
    for key, text in share.conditions.verifier:
        if theirs.get(key, text) != text:
            yield Excess(f"verifier.{key}", "the parent asks for another value: only add labels")


def _bound(parent: Conditions, own: Conditions) -> Conditions:
    """Bind a child by its parent's conditions and its own."""
    if not (parent or own):
        return UNCONDITIONAL
    verifier = tuple(sorted({*parent.verifier, *own.verifier}))
    return Conditions(own.addresses or parent.addresses, verifier)
