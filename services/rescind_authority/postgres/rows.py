"""Conversion of rows to values."""

import asyncpg

from rescind.core.conditions import UNCONDITIONAL, Conditions
from rescind.core.delegation import MAX_OWN_OVERLAP_US, DelegationLimits, Right
from rescind.core.handles import Handle, Selector
from rescind.core.revocation import Event, Revocation
from rescind.core.token_format import Kind
from rescind_authority.ports.revocations import ScheduledLift, StoredRevocation, Swept
from rescind_authority.ports.token_grant import Device, TokenGrant
from rescind_authority.ports.tokens import (
    Candidate,
    Ended,
    EndReason,
    IssueTimes,
    NewToken,
    Retired,
    ScheduledEnd,
    StoredToken,
)

_REASONS = {each.value: each for each in EndReason}


def token_of(row: asyncpg.Record) -> StoredToken:
    """Return the token in the columns of a row."""
    return StoredToken(
        token_hash=row["token_hash"],
        grant=_grant(row),
        issued_at_us=row["issued_at"],
        issued_seq=row["issued_seq"],
        expires_at_us=row["expires_at"],
        last_used_at_us=row["last_used_at"],
        retired=None
        if row["retired_at"] is None
        else Retired(
            row["retired_at"], row["good_until"], row["revokes"], row.get("possession_hash")
        ),
        ended=None if row["ended_seq"] is None else Ended(row["ended_seq"], row["ended_by"] or ""),
    )


def _grant(row: asyncpg.Record) -> TokenGrant:
    return TokenGrant(
        token_id=row["token_id"],
        kind=Kind(row["kind"]),
        subject=row["subject"],
        scopes=tuple(row["scopes"]),
        audience=tuple(row["audience"]),
        tenant=row["tenant"],
        client=row["client"],
        session=row["session"],
        labels=tuple(sorted(row["labels"].items())),
        handles=tuple(Handle(text) for text in row["handles"]),
        lineage=tuple(row["lineage"]),
        chain=tuple(row["chain"]),
        not_before_us=row["not_before"],
        limits=_limits(row),
        created_by=row["created_by"],
        device=Device(row["user_agent"], row["address"]),
        conditions=_conditions(row),
        idle_us=row.get("idle_us"),  # an issuance snapshot has none: a child does not inherit it
    )


INSERTED = (
    *("token_hash", "token_id", "kind", "subject", "scopes", "audience", "tenant", "client"),
    *("session", "labels", "handles", "not_before", "created_by", "issued_seq", "issued_at"),
    *("expires_at", "lineage", "chain", "may_speak_for", "max_depth", "user_agent", "address"),
    *("addresses", "verifier", "issued_by", "worst_posture", "most_instances"),
    *("possession_hash", "self_service", "max_overlap_us", "reuse_denies"),
)
"""The parameters of `insert_token` before the MAC, in this order."""


def row_of(token: NewToken, issued: IssueTimes) -> dict[str, object]:
    """Return the columns of a token that is about to be stored."""
    grant = token.grant
    limits, conditions, device = grant.limits, grant.conditions, grant.device
    return {
        "token_hash": token.token_hash,
        "token_id": grant.token_id,
        "kind": grant.kind,
        "subject": grant.subject,
        "scopes": grant.scopes,
        "audience": grant.audience,
        "tenant": grant.tenant,
        "client": grant.client,
        "session": grant.session,
        "labels": dict(grant.labels),
        "handles": grant.handles,
        "not_before": grant.not_before_us,
        "created_by": grant.created_by,
        "issued_seq": issued.issued_seq,
        "issued_at": issued.issued_at_us,
        "expires_at": issued.expires_at_us,
        "granted_until": issued.expires_at_us,
        "lineage": grant.lineage,
        "chain": grant.chain,
        "may_speak_for": limits.may_speak_for,
        "max_depth": limits.max_depth,
        "user_agent": device.user_agent,
        "address": device.address,
        "addresses": conditions.addresses,
        "verifier": dict(conditions.verifier),
        "issued_by": token.issued_by,
        "worst_posture": token.sidecars.posture,
        "most_instances": token.sidecars.instances,
        "possession_hash": token.possession_hash,
        "self_service": limits.self_service,
        "max_overlap_us": limits.max_overlap_us,
        "reuse_denies": limits.reuse_denies,
        "changed_seq": None,
        "ended_seq": None,
    }


def event_of(row: asyncpg.Record) -> Event:
    """Return the event of a revocation in the columns of a row."""
    return Event(
        epoch=row["event_epoch"],
        seq=row["seq"],
        at_us=row["committed_at"],
        revocation=Revocation(
            revocation_id=row["revocation_id"],
            selector=Selector(tuple(Handle(text) for text in row["selector"])),
            effect=row["effect"],
            reason=row["reason"],
            actor=row["actor"],
            issued_before_us=row["issued_before"],
            until_us=row["until"],
            scopes=tuple(row["removed"]),
            lifts=row["lifts"],
        ),
    )


def candidate_of(row: asyncpg.Record) -> Candidate:
    """Return a revocation that may apply to a token.

    `since_us` is the snapshot's time if neither the token nor an ancestor has the selected handles
    yet. A new token has them from that time on.
    """
    since_us = row["at"] if row["since"] is None else row["since"]
    return Candidate(event_of(row), since_us)


def revocation_of(row: asyncpg.Record) -> StoredRevocation:
    """Return the revocation in the columns of a row."""
    swept = None if row["swept"] is None else Swept(row["stamped"], row["swept"])
    return StoredRevocation(event_of(row), row["exact"], row["lifted_at"], row["killed"], swept)


def scheduled_lift_of(row: asyncpg.Record) -> ScheduledLift:
    """Return the revocation with a time of lifting in the columns of a row."""
    return ScheduledLift(event_of(row), row["exact"], row["until"] - row["at"])


def pending_of(row: asyncpg.Record) -> ScheduledEnd:
    """Return the scheduled end in the columns of a row."""
    return ScheduledEnd(
        token_id=row["token_id"],
        token_hash=row["token_hash"],
        left_us=row["at"] - row["now"],
        # The reason of a newer authority is not known here; the token ends all the same.
        reason=_REASONS.get(row["reason"]),
    )


def _limits(row: asyncpg.Record) -> DelegationLimits:
    given, overlap_us = row["self_service"], row["max_overlap_us"]
    return DelegationLimits(
        may_speak_for=tuple(row["may_speak_for"]),
        max_depth=row["max_depth"],
        # Rights that a newer authority granted are not known here and are left out.
        self_service=None if given is None else tuple(each for each in Right if each in given),
        max_overlap_us=MAX_OWN_OVERLAP_US if overlap_us is None else overlap_us,
        reuse_denies=row["reuse_denies"],
    )


def _conditions(row: asyncpg.Record) -> Conditions:
    if not (row["addresses"] or row["verifier"]):
        return UNCONDITIONAL
    return Conditions(tuple(row["addresses"]), tuple(sorted(row["verifier"].items())))
