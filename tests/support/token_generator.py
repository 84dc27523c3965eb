"""A generator that fills the token table as years of use would.

It uses `COPY` and takes a few minutes for ten million rows. The same number gives the same token in
every run. Families of eight are delegated from one root, some deeper than others; one tree may have
any size. About a third has expired.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

import asyncpg

from rescind.core import handles, public_ids
from rescind.core.handles import Handle

_FAMILY = 8
_PARENT = (None, 0, 0, 0, 1, 1, 4, None)  # of each member; the last one stands alone
_BATCH = 10_000
_SPAN = timedelta(days=30)
_COLUMNS = [
    "token_id",
    "token_hash",
    "kind",
    "subject",
    "scopes",
    "audience",
    "tenant",
    "client",
    "session",
    "labels",
    "lineage",
    "chain",
    "handles",
    "issued_at",
    "issued_seq",
    "expires_at",
    "created_by",
]
_INHERITED = ("tree:", "chain:", "tenant:", "client:", "session:", "label:")


@dataclass(frozen=True, slots=True)
class Token:
    """A token from which others are delegated."""

    token_id: str
    subject: str
    lineage: tuple[str, ...]
    chain: tuple[str, ...]
    handles: tuple[Handle, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The number of tokens, the time of the last, and the size of the tree of the first one.

    The tokens of that tree are the oldest. All tokens have the same `issued_seq`.
    """

    rows: int
    until: datetime
    tree: int = 0
    issued_seq: int = 0

    @property
    def root(self) -> str:
        """The id of the large tree's root."""
        return token_id(self, 0)


def token_id(plan: Plan, number: int) -> str:
    """Return the id of a token by its number; the oldest has number 0."""
    now_ms = int(_issued_at(plan, number).timestamp() * 1000)
    return public_ids.make(
        "tok", now_ms=now_ms, entropy=_digest(number)[: public_ids.ENTROPY_BYTES]
    )


async def fill(connection: "asyncpg.Connection[asyncpg.Record]", plan: Plan) -> None:
    """Add the tokens of a plan, and then create all indexes except for the primary key."""
    made = await connection.fetch(
        """
        SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition,
            c.conname AS rule, pg_get_constraintdef(c.oid) AS constrains
        FROM pg_index AS i LEFT JOIN pg_constraint AS c ON c.conindid = i.indexrelid
        WHERE i.indrelid = 'tokens'::regclass AND NOT i.indisprimary
        """
    )
    for each in made:
        await connection.execute(
            f"ALTER TABLE tokens DROP CONSTRAINT {each['rule']}"
            if each["rule"]
            else f"DROP INDEX {each['name']}"
        )
    rows = _rows(plan)
    while batch := list(islice(rows, _BATCH)):
        await connection.copy_records_to_table("tokens", records=batch, columns=_COLUMNS)
    await connection.execute("SET maintenance_work_mem = '1GB'")
    for each in made:
        await connection.execute(
            f"ALTER TABLE tokens ADD CONSTRAINT {each['rule']} {each['constrains']}"
            if each["rule"]
            else each["definition"],
            timeout=3_600,
        )
    await connection.execute("VACUUM ANALYZE tokens", timeout=3_600)


def _rows(plan: Plan) -> Iterator[tuple[object, ...]]:
    root: Token | None = None
    family: list[Token] = []
    for number in range(plan.rows):
        member = number % _FAMILY
        if number < plan.tree:
            parent = root
        else:
            family = family if member else []
            place = _PARENT[member]
            # A family that the large tree cut in two has no parents: each member is a root.
            parent = family[place] if place is not None and place < len(family) else None
        token, row = _token(plan, number, parent)
        if number == 0:
            root = token
        family.append(token)
        yield row


def _token(plan: Plan, number: int, parent: Token | None) -> tuple[Token, tuple[object, ...]]:
    name = token_id(plan, number)
    issued_at = _issued_at(plan, number)
    kind, tenant, client, session, labels = _facts(plan, number)
    subject = _subject(number) if parent is None else f"{parent.subject}/{number % _FAMILY}"
    if parent is not None:
        kind, tenant, client, session = "agent", None, None, None
    inherited = [] if parent is None else [h for h in parent.handles if h.startswith(_INHERITED)]
    all_handles = handles.of_token(
        token_id=name,
        kind=kind,
        subject=subject,
        tenant=tenant,
        client=client,
        session=session,
        labels=labels.items(),
        inherited=inherited,
    )
    of_kind = {handles.kind_of(each): each.partition(":")[2] for each in all_handles}
    lineage = () if parent is None else (*parent.lineage, parent.token_id)
    chain = () if parent is None else (*parent.chain, parent.subject)
    row = (
        name,
        hashlib.sha256(name.encode()).digest(),
        kind,
        subject,
        ["tools:*"] if parent is None else [f"tools:{number % 7}"],
        [] if number % 3 else [f"service-{number % 12}"],
        of_kind.get("tenant"),
        of_kind.get("client"),
        of_kind.get("session"),
        json.dumps(labels),
        lineage,
        chain,
        all_handles,
        issued_at,
        plan.issued_seq,
        issued_at + _lifetime(number),
        "admin:root",
    )
    return Token(name, subject, lineage, chain, all_handles), row


def _facts(
    plan: Plan, number: int
) -> tuple[str, str | None, str | None, str | None, dict[str, str]]:
    """Return a token's kind, tenant, client, session and labels: some common, some rare."""
    random_source = int.from_bytes(_digest(number)[10:14])
    old = number - plan.tree < plan.rows // 50
    kind = ("agent", "agent", "agent", "session", "service", "personal")[random_source % 6]
    tenant = (
        "bygone"
        if old and random_source % 2
        else f"t{int((random_source % 9973 / 9973) ** 3 * 2000)}"
    )
    labels = {
        "env": "prod" if random_source % 10 < 7 else "dev",
        "team": f"team-{random_source // 7 % 200}",
    }
    if number % 20_000 == 11:
        labels["incident"] = f"i{number // 1_000_000}"
    session = f"s{number}" if kind == "session" else None
    return kind, tenant, f"client-{random_source // 11 % 5_000}", session, labels


def _subject(number: int) -> str:
    random_source = int.from_bytes(_digest(number)[14:18])
    if random_source % 10 == 0:
        return f"agent:bot-{random_source // 10 % 20}"  # a few with very many tokens
    return f"agent:a{random_source % 1_000_003}"


def _lifetime(number: int) -> timedelta:
    return timedelta(hours=1) if number % 3 == 0 else timedelta(days=60)


def _issued_at(plan: Plan, number: int) -> datetime:
    return plan.until.astimezone(UTC) - _SPAN * (1 - number / plan.rows)


def _digest(number: int) -> bytes:
    return hashlib.sha256(b"token %d" % number).digest()
