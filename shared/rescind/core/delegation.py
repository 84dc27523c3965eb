"""The rules of delegation: a child never has more than its parent (design 5).

Nothing here grants a permission. The parent's record states its permissions. Its limits (`mandate`)
state how far they may be delegated. `excess` returns each part of a child's request (`share`) that
exceeds them. A child gets only what it requests, and inherits only what it cannot be without: the
parent's audience, labels, end and handles.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from rescind.core import scopes, well_known_scopes
from rescind.core.conditions import UNCONDITIONAL, Conditions
from rescind.core.handles import Handle, alike, kind_of
from rescind.core.record import MAX_LABELS, MAX_LINEAGE, Record
from rescind.core.times import US_PER_S
from rescind.core.token_format import Kind

_OF_ONE_TOKEN = frozenset({"token", "subject"})


MAX_OWN_OVERLAP_US = 3_600_000_000
"""The longest overlap of a rotation by the holder, unless the issuer sets another."""


class Right(StrEnum):
    """A right of a token's holder at the authority, with nothing but the token."""

    DELEGATE = "delegate"
    ROTATE = "rotate"
    SESSIONS = "sessions"  # list and end the sessions of its subject


@dataclass(frozen=True, slots=True)
class DelegationLimits:
    """The limits of a token's delegation, and of the rights of its holder.

    `may_speak_for` are patterns, like those of scopes, of subjects besides `<own subject>/<name>`.
    `max_depth` is the number of generations below the token; None: as many as a lineage can have.
    `self_service` are the granted rights; None: the default rights (`rights`). In a rotation by the
    holder, the overlap is at most `max_overlap_us` (microseconds). Reuse of the old secret ends the
    token, unless `reuse_denies`.
    """

    may_speak_for: tuple[str, ...] = ()
    max_depth: int | None = None
    self_service: tuple[Right, ...] | None = None
    max_overlap_us: int = MAX_OWN_OVERLAP_US
    reuse_denies: bool = False


@dataclass(frozen=True, slots=True)
class ChildGrant:
    """The requested grant of a child.

    An empty audience, `ttl_us` None and `max_depth` None mean as much as the parent allows.
    """

    subject: str
    kind: Kind
    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    ttl_us: int | None
    mandate: DelegationLimits
    conditions: Conditions = UNCONDITIONAL


@dataclass(frozen=True, slots=True)
class DelegationViolation:
    """One part of a child's request that its parent does not allow."""

    field: str
    detail: str


def excess(
    parent: Record,
    mandate: DelegationLimits,
    share: ChildGrant,
    *,
    removed: Collection[str],
    at_us: int,
) -> tuple[DelegationViolation, ...]:
    """Return everything that exceeds the parent; an empty tuple means that the child is allowed.

    `removed` are the scopes that narrows removed from the parent. Some narrows hit the parent alone
    (`exact`), so these scopes must not be granted to the child in the first place. `at_us` is the
    present time in Unix microseconds.
    """
    return (
        *_too_deep(parent, mandate, share),
        *_too_able(parent, mandate, share),
        *_of_another(parent, mandate, share),
        *_too_wide(parent, share, removed),
        *_too_long(parent, share, at_us),
        *_relabelled(parent, share),
        *_less_bound(parent, share),
    )


def hand_down(parent: Record, mandate: DelegationLimits, share: ChildGrant) -> ChildGrant:
    """Return an allowed share, completed with the values that the parent hands down."""
    left = depth_left(parent, mandate)
    depth = share.mandate.max_depth
    return replace(
        share,
        audience=share.audience or tuple(sorted(parent.audience)),
        labels=tuple(sorted({*parent.labels, *share.labels})),
        conditions=_bound(parent.conditions, share.conditions),
        mandate=replace(
            share.mandate,
            max_depth=left - 1 if depth is None else depth,
            self_service=_handed_down(mandate, share.mandate),
            max_overlap_us=mandate.max_overlap_us,
            reuse_denies=mandate.reuse_denies,
        ),
    )


def rights(record: Record, mandate: DelegationLimits) -> frozenset[Right]:
    """Return the rights of a token's holder at the authority.

    By default, the holder has all rights. A token that is bound to services or verifiers, and not
    to the authority, gives no rights: the operator of such a service, to which the token is
    presented, could use them too.
    """
    if mandate.self_service is not None:
        return frozenset(mandate.self_service)
    elsewhere = bool(record.audience) and well_known_scopes.AUDIENCE not in record.audience
    return frozenset() if elsewhere or record.conditions.verifier else frozenset(Right)


def depth_left(parent: Record, mandate: DelegationLimits) -> int:
    """Return the number of generations that may still be delegated from a token."""
    room = MAX_LINEAGE - len(parent.lineage)
    return room if mandate.max_depth is None else min(room, mandate.max_depth)


def inherited(handles: Collection[Handle]) -> tuple[Handle, ...]:
    """Return the handles that a child inherits: all but those of its parent alone."""
    return tuple(handle for handle in handles if kind_of(handle) not in _OF_ONE_TOKEN)


def may_speak_for(parent: Record, mandate: DelegationLimits, subject: str) -> bool:
    """Return True if a parent may delegate to this subject."""
    start, slash, name = subject.rpartition("/")
    own = start == parent.subject and bool(slash and name)
    return own or scopes.covers(mandate.may_speak_for, subject)


def _too_deep(
    parent: Record, mandate: DelegationLimits, share: ChildGrant
) -> Iterator[DelegationViolation]:
    left = depth_left(parent, mandate)
    if parent.kind is Kind.ADMIN:
        yield DelegationViolation("parent", "admin tokens are not delegated; issue a token instead")
    elif well_known_scopes.is_credential(parent.granted):
        yield DelegationViolation("parent", "the credentials of sidecars are not delegated")
    elif Right.DELEGATE not in rights(parent, mandate):
        yield DelegationViolation(
            "parent",
            "this token may not be delegated by its holder: its audience or verifier binds it "
            "elsewhere, or its issuer left `delegate` out of self_service",
        )
    elif left < 1:
        yield DelegationViolation(
            "parent",
            "this token may not be delegated (any further): its max_depth is used up"
            if mandate.max_depth is not None
            else f"a lineage has at most {MAX_LINEAGE} ancestors, this would be one more",
        )
    elif share.mandate.max_depth is not None and share.mandate.max_depth > left - 1:
        yield DelegationViolation("max_depth", f"the parent leaves {left - 1}")


def _too_able(
    parent: Record, mandate: DelegationLimits, share: ChildGrant
) -> Iterator[DelegationViolation]:
    held = rights(parent, mandate)
    for right in share.mandate.self_service or ():
        if right not in held:
            yield DelegationViolation("self_service", f"the parent's holder may not {right}")


def _of_another(
    parent: Record, mandate: DelegationLimits, share: ChildGrant
) -> Iterator[DelegationViolation]:
    # An agent is what posture spares least; any other kind might outlive a lease (design 7).
    if share.kind not in {Kind.AGENT, parent.kind}:
        yield DelegationViolation(
            "kind", f"a child is an agent, or of its parent's kind ({parent.kind})"
        )
    elif share.kind is Kind.SESSION:
        # It could list and end the sessions of its subject; a session is issued at a log-in.
        yield DelegationViolation(
            "kind", "a session delegates to agents, and no session: issue one"
        )
    if not may_speak_for(parent, mandate, share.subject):
        allowed = " or ".join((f"{parent.subject}/<name>", *mandate.may_speak_for))
        yield DelegationViolation(
            "subject", f"the parent may speak for {allowed}, where a name has no `/`"
        )
    for pattern in share.mandate.may_speak_for:
        if not scopes.covers(mandate.may_speak_for, pattern):
            yield DelegationViolation(
                "may_speak_for", f"the parent's own may_speak_for lacks {pattern}"
            )


def _too_wide(
    parent: Record, share: ChildGrant, removed: Collection[str]
) -> Iterator[DelegationViolation]:
    for scope in share.scopes:
        if well_known_scopes.own(scope):
            yield DelegationViolation(
                "scopes", f"{scope} has power over rescind itself: that is not delegated"
            )
        elif not scopes.covers(parent.granted, scope):
            yield DelegationViolation("scopes", f"the parent does not have {scope}")
        elif scopes.meets(removed, scope):
            yield DelegationViolation(
                "scopes", f"{scope} was taken from the parent, or a part of it"
            )
    if parent.audience:
        for service in share.audience:
            if service not in parent.audience:
                yield DelegationViolation("audience", f"the parent is not good at {service}")


def _too_long(parent: Record, share: ChildGrant, at_us: int) -> Iterator[DelegationViolation]:
    left_us = parent.expires_at_us - at_us
    if share.ttl_us is not None and share.ttl_us > left_us:
        yield DelegationViolation(
            "ttl",
            f"the parent ends in {left_us / US_PER_S:.3f} seconds; without a ttl the child lives "
            "an hour, or as long as its parent",
        )


def _relabelled(parent: Record, share: ChildGrant) -> Iterator[DelegationViolation]:
    theirs = dict(parent.labels)
    for key, text in share.labels:
        if theirs.get(key, text) != text:
            yield DelegationViolation(
                f"labels.{key}", "the parent has it with another value: only add labels"
            )
    for key in alike((*theirs, *(key for key, _ in share.labels if key not in theirs))):
        if key not in theirs:
            yield DelegationViolation(
                f"labels.{key}", "the parent has a label whose key reads like this one"
            )
    if len({**theirs, **dict(share.labels)}) > MAX_LABELS:
        yield DelegationViolation("labels", f"at most {MAX_LABELS} labels, the parent's included")


def _less_bound(parent: Record, share: ChildGrant) -> Iterator[DelegationViolation]:
    if not share.conditions.within(parent.conditions):
        allowed = ", ".join(parent.conditions.addresses)
        yield DelegationViolation("addresses", f"the parent is good from {allowed} only")
    theirs = dict(parent.conditions.verifier)
    for key, text in share.conditions.verifier:
        if theirs.get(key, text) != text:
            yield DelegationViolation(
                f"verifier.{key}", "the parent asks for another value: only add labels"
            )


def _handed_down(parent: DelegationLimits, child: DelegationLimits) -> tuple[Right, ...] | None:
    """Return a child's rights. If its parent's were set, only the requested rights."""
    if child.self_service is None and parent.self_service is not None:
        return ()
    return child.self_service


def _bound(parent: Conditions, own: Conditions) -> Conditions:
    """Return the conditions of a child: its parent's and its own."""
    if not (parent or own):
        return UNCONDITIONAL
    verifier = tuple(sorted({*parent.verifier, *own.verifier}))
    return Conditions(own.addresses or parent.addresses, verifier)
