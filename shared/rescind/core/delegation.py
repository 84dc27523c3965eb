"""The rules of delegation: a child never has more than its parent (design 5).

Nothing here grants a permission. The parent's record states the permissions, and the parent's
limits state how far these may be delegated. `violations` returns each part of the requested grant
that exceeds them. A child gets only the requested permissions. It inherits the parent's audience,
labels, end and handles.
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

_NOT_INHERITED = frozenset({"token", "subject"})


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
    `max_depth` is the number of levels of descendants; None: as many as a lineage can have.
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
    limits: DelegationLimits
    conditions: Conditions = UNCONDITIONAL


@dataclass(frozen=True, slots=True)
class DelegationViolation:
    """One part of a child's request that its parent does not allow."""

    field: str
    detail: str


def violations(
    parent: Record,
    limits: DelegationLimits,
    requested: ChildGrant,
    *,
    removed: Collection[str],
    at_us: int,
) -> tuple[DelegationViolation, ...]:
    """Return everything that exceeds the parent; an empty tuple means that the child is allowed.

    `removed` are the scopes that narrowings removed from the parent. Some of them hit it alone
    (`exact`), so these scopes must not be granted to the child in the first place. `at_us` is the
    present time in Unix microseconds.
    """
    return (
        *_check_depth(parent, limits, requested),
        *_check_right(parent, limits, requested),
        *_check_identity(parent, limits, requested),
        *_check_scope(parent, requested, removed),
        *_check_lifetime(parent, requested, at_us),
        *_check_label(parent, requested),
        *_check_condition(parent, requested),
    )


def complete(parent: Record, limits: DelegationLimits, requested: ChildGrant) -> ChildGrant:
    """Return an allowed request, completed with the values that the child inherits."""
    levels = depth_left(parent, limits)
    depth = requested.limits.max_depth
    return replace(
        requested,
        audience=requested.audience or tuple(sorted(parent.audience)),
        labels=tuple(sorted({*parent.labels, *requested.labels})),
        conditions=_combine_conditions(parent.conditions, requested.conditions),
        limits=replace(
            requested.limits,
            max_depth=levels - 1 if depth is None else depth,
            self_service=_derive_rights(limits, requested.limits),
            max_overlap_us=limits.max_overlap_us,
            reuse_denies=limits.reuse_denies,
        ),
    )


def rights(record: Record, limits: DelegationLimits) -> frozenset[Right]:
    """Return the rights of a token's holder at the authority.

    By default, the holder has all rights. A token that is bound to services or verifiers, and not
    to the authority, gives no rights: the operator of such a service, to which the token is
    presented, could use them too.
    """
    if limits.self_service is not None:
        return frozenset(limits.self_service)
    elsewhere = bool(record.audience) and well_known_scopes.AUDIENCE not in record.audience
    return frozenset() if elsewhere or record.conditions.verifier else frozenset(Right)


def depth_left(parent: Record, limits: DelegationLimits) -> int:
    """Return the number of levels of descendants that a token may still have."""
    room = MAX_LINEAGE - len(parent.lineage)
    return room if limits.max_depth is None else min(room, limits.max_depth)


def inherited(handles: Collection[Handle]) -> tuple[Handle, ...]:
    """Return the handles that a child inherits: all but the token id and subject of its parent."""
    return tuple(handle for handle in handles if kind_of(handle) not in _NOT_INHERITED)


def may_speak_for(parent: Record, limits: DelegationLimits, subject: str) -> bool:
    """Return True if a parent may delegate to this subject."""
    start, slash, name = subject.rpartition("/")
    own = start == parent.subject and bool(slash and name)
    return own or scopes.covers(limits.may_speak_for, subject)


def _check_depth(
    parent: Record, limits: DelegationLimits, requested: ChildGrant
) -> Iterator[DelegationViolation]:
    levels = depth_left(parent, limits)
    if parent.kind is Kind.ADMIN:
        yield DelegationViolation("parent", "admin tokens are not delegated; issue a token instead")
    elif well_known_scopes.is_credential(parent.granted):
        yield DelegationViolation("parent", "the credentials of sidecars are not delegated")
    elif Right.DELEGATE not in rights(parent, limits):
        yield DelegationViolation(
            "parent",
            "this token may not be delegated by its holder: its audience or verifier binds it "
            "elsewhere, or its issuer left `delegate` out of self_service",
        )
    elif levels < 1:
        yield DelegationViolation(
            "parent",
            "this token may not be delegated (any further): its max_depth is used up"
            if limits.max_depth is not None
            else f"a lineage has at most {MAX_LINEAGE} ancestors, this would be one more",
        )
    elif requested.limits.max_depth is not None and requested.limits.max_depth > levels - 1:
        yield DelegationViolation("max_depth", f"the parent leaves {levels - 1}")


def _check_right(
    parent: Record, limits: DelegationLimits, requested: ChildGrant
) -> Iterator[DelegationViolation]:
    parent_rights = rights(parent, limits)
    for right in requested.limits.self_service or ():
        if right not in parent_rights:
            yield DelegationViolation("self_service", f"the parent's holder may not {right}")


def _check_identity(
    parent: Record, limits: DelegationLimits, requested: ChildGrant
) -> Iterator[DelegationViolation]:
    # Posture gives agents no grace by default; another kind might outlive a lease (design 7).
    if requested.kind not in {Kind.AGENT, parent.kind}:
        yield DelegationViolation(
            "kind", f"a child is an agent, or of its parent's kind ({parent.kind})"
        )
    elif requested.kind is Kind.SESSION:
        # It could list and end the sessions of its subject; a session is issued at a log-in.
        yield DelegationViolation("kind", "a session delegates to agents only: issue a session")
    if not may_speak_for(parent, limits, requested.subject):
        allowed = " or ".join((f"{parent.subject}/<name>", *limits.may_speak_for))
        yield DelegationViolation(
            "subject", f"the parent may speak for {allowed}, where a name has no `/`"
        )
    for pattern in requested.limits.may_speak_for:
        if not scopes.covers(limits.may_speak_for, pattern):
            yield DelegationViolation(
                "may_speak_for", f"the parent's own may_speak_for lacks {pattern}"
            )


def _check_scope(
    parent: Record, requested: ChildGrant, removed: Collection[str]
) -> Iterator[DelegationViolation]:
    for scope in requested.scopes:
        if well_known_scopes.own(scope):
            yield DelegationViolation(
                "scopes", f"{scope} grants permissions over rescind itself: that is not delegated"
            )
        elif not scopes.covers(parent.granted, scope):
            yield DelegationViolation("scopes", f"the parent does not have {scope}")
        elif scopes.meets(removed, scope):
            yield DelegationViolation(
                "scopes", f"{scope} was taken from the parent, or a part of it"
            )
    if parent.audience:
        for service in requested.audience:
            if service not in parent.audience:
                yield DelegationViolation("audience", f"the parent is not valid at {service}")


def _check_lifetime(
    parent: Record, requested: ChildGrant, at_us: int
) -> Iterator[DelegationViolation]:
    left_us = parent.expires_at_us - at_us
    if requested.ttl_us is not None and requested.ttl_us > left_us:
        yield DelegationViolation(
            "ttl",
            f"the parent ends in {left_us / US_PER_S:.3f} seconds; without a ttl the child ends "
            "after an hour, or together with its parent",
        )


def _check_label(parent: Record, requested: ChildGrant) -> Iterator[DelegationViolation]:
    parent_labels = dict(parent.labels)
    for key, text in requested.labels:
        if parent_labels.get(key, text) != text:
            yield DelegationViolation(
                f"labels.{key}", "the parent has it with another value: only add labels"
            )
    for key in alike(
        (*parent_labels, *(key for key, _ in requested.labels if key not in parent_labels))
    ):
        if key not in parent_labels:
            yield DelegationViolation(
                f"labels.{key}", "the parent has a label whose key reads like this one"
            )
    if len({**parent_labels, **dict(requested.labels)}) > MAX_LABELS:
        yield DelegationViolation("labels", f"at most {MAX_LABELS} labels, the parent's included")


def _check_condition(parent: Record, requested: ChildGrant) -> Iterator[DelegationViolation]:
    if not requested.conditions.within(parent.conditions):
        allowed = ", ".join(parent.conditions.addresses)
        yield DelegationViolation("addresses", f"the parent is valid from {allowed} only")
    parent_verifier = dict(parent.conditions.verifier)
    for key, text in requested.conditions.verifier:
        if parent_verifier.get(key, text) != text:
            yield DelegationViolation(
                f"verifier.{key}", "the parent asks for another value: only add labels"
            )


def _derive_rights(parent: DelegationLimits, child: DelegationLimits) -> tuple[Right, ...] | None:
    """Return a child's rights. If its parent's were set, only the requested rights."""
    if child.self_service is None and parent.self_service is not None:
        return ()
    return child.self_service


def _combine_conditions(parent: Conditions, own: Conditions) -> Conditions:
    """Return the conditions of a child: its parent's and its own."""
    if not (parent or own):
        return UNCONDITIONAL
    verifier = tuple(sorted({*parent.verifier, *own.verifier}))
    return Conditions(own.addresses or parent.addresses, verifier)
