"""Rows as values."""

import asyncpg

from rescind.core.conditions import UNCONDITIONAL, Conditions
from rescind.core.delegation import Mandate
from rescind.core.handles import Handle, Selector
from rescind.core.revocation import Event, Revocation
from rescind.core.tokens import Kind
from rescind_authority.ports.revocations import StoredRevocation, Swept, Timed
from rescind_authority.ports.tokens import (
    Candidate,
    Device,
    Ended,
    Pending,
    Retired,
    StoredToken,
)


def token_of(row: asyncpg.Record) -> StoredToken:
    """Read a token out of its columns."""
    return StoredToken(
        token_hash=row["token_hash"],
        token_id=row["token_id"],
        kind=Kind(row["kind"]),
        subject=row["subject"],
        scopes=tuple(row["scopes"]),
        audience=tuple(row["audience"]),
        tenant=row["tenant"],
        client=row["client"],
        session=row["session"],
        labels=tuple(sorted(row["labels"].items())),
        lineage=tuple(row["lineage"]),
        chain=tuple(row["chain"]),
        handles=tuple(Handle(text) for text in row["handles"]),
        issued_at_us=row["issued_at"],
        issued_seq=row["issued_seq"],
        not_before_us=row["not_before"],
        expires_at_us=row["expires_at"],
        last_used_at_us=row["last_used_at"],
        created_by=row["created_by"],
        mandate=Mandate(tuple(row["may_speak_for"]), row["max_depth"]),
        conditions=_conditions(row),
        device=Device(row["user_agent"], row["address"]),
        retired=None
        if row["retired_at"] is None
        else Retired(row["retired_at"], row["good_until"], row["revokes"]),
        ended=None if row["ended_seq"] is None else Ended(row["ended_seq"], row["ended_by"] or ""),
    )


def event_of(row: asyncpg.Record) -> Event:
    """Read a revocation's event out of its columns."""
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
    """Read a revocation that may concern a token; what nobody has yet it will have from now on."""
    since_us = row["at"] if row["since"] is None else row["since"]
    return Candidate(event_of(row), since_us)


def revocation_of(row: asyncpg.Record) -> StoredRevocation:
    """Read a revocation out of its columns."""
    swept = None if row["swept"] is None else Swept(row["stamped"], row["swept"])
    return StoredRevocation(event_of(row), row["exact"], row["lifted_at"], row["killed"], swept)


def timed_of(row: asyncpg.Record) -> Timed:
    """Read a revocation that ends by itself out of its columns."""
    return Timed(event_of(row), row["exact"], row["until"] - row["at"])


def pending_of(row: asyncpg.Record) -> Pending:
    """Read what is to end out of its columns."""
    return Pending(row["token_id"], row["token_hash"], row["at"] - row["now"])


def _conditions(row: asyncpg.Record) -> Conditions:
    if not (row["addresses"] or row["verifier"]):
        return UNCONDITIONAL
    return Conditions(tuple(row["addresses"]), tuple(sorted(row["verifier"].items())))
