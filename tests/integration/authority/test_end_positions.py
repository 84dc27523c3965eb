"""Ends are positions of the ledger, on a real Postgres whose clock runs behind what is stored.

A clock cannot be set back here: instead, every time that was stored moves forward, which is the
same to whatever compares the two. `set_back` does it.
"""

import asyncio
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.authority import Running, Sidecar, System, serving
from tests.support.eventually import eventually
from tests.support.rows import guard, guard_of

from rescind.core import token_format, verdict
from rescind.core.handles import Handle
from rescind.core.record import Record
from rescind.core.revocation import ENDED, Restriction
from rescind.core.verdict import Denied, Reason
from rescind.wire.events import Batch
from rescind_authority.ports.ledger import End
from rescind_authority.ports.tokens import Ended
from rescind_authority.postgres import pool
from rescind_authority.postgres.integrity.row_rewriter import RowRewriter
from rescind_authority.postgres.ledger import PostgresLedger
from rescind_authority.postgres.migrate import Migrator, known
from rescind_authority.postgres.pool import Postgres
from rescind_authority.postgres.records import PostgresRecords
from rescind_authority.postgres.token_search import PostgresTokens
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.usecases.ledger.publisher import Publisher
from rescind_authority.usecases.ledger.recent_events import RecentEvents
from rescind_authority.usecases.ledger.sequencer import Sequencer
from rescind_authority.usecases.lookups.resolver import record_of
from rescind_authority.usecases.tokens.end_timer import EndTimer
from rescind_runtime.clock import SystemClock
from rescind_runtime.crypto.signing import Keyring

CHILD = {"subject": "agent:a/b"}


async def set_back(system: System, by: str = "5 min") -> None:
    """Have Postgres's clock be this much behind all that tokens and secrets know of it."""
    await system.rows(
        "UPDATE tokens SET issued_at = issued_at + $1::text::interval, "
        "expires_at = expires_at + $1::text::interval",
        by,
    )
    await system.rows(
        "UPDATE retired_secrets SET retired_at = retired_at + $1::text::interval, "
        "good_until = good_until + $1::text::interval",
        by,
    )


async def call(authority: Running, token: dict[str, Any], verb: str, **how: object) -> Any:
    answer = await authority.http.post(f"/v1/tokens/{token['token_id']}/{verb}", json=how)
    assert answer.status_code in (200, 202), answer.text
    return answer.json()


async def look(authority: Running, token: dict[str, Any]) -> dict[str, Any]:
    answer = await authority.http.get(f"/v1/tokens/{token['token_id']}")
    found: dict[str, Any] = answer.json()
    return found


async def listed(authority: Running, state: str) -> list[str]:
    page = (await authority.http.get("/v1/tokens", params={"state": state})).json()
    return [each["token_id"] for each in page["tokens"]]


async def record(sidecar: Sidecar, token: dict[str, Any]) -> Record:
    found = (await sidecar.resolve(token["token"]))[1]
    assert found is not None
    return found


async def test_a_token_that_was_expired_is_ended_at_a_position_whatever_the_clock_shows(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        token = await authority.issue("agent:a", ttl=3600)
        ended = await call(authority, token, "expire")
        await set_back(system)
        found = await record(sidecar, token)
        assert found.restrictions == (Restriction(ended["id"], ENDED, ended["seq"]),)
        assert verdict.judge_state(found) == Denied(Reason.EXPIRED)
        async with authority.as_bearer(token["token"]) as bearer:
            assert (await bearer.post("/v1/delegations", json=CHILD)).status_code == 401
            assert (await bearer.post("/v1/rotations", json={})).status_code == 401
        seen = await look(authority, token)
        assert (seen["state"], seen["denied"], seen["ended_seq"]) == ("expired", "expired", 1)
        assert token["token_id"] in await listed(authority, "expired")
        assert token["token_id"] not in await listed(authority, "active")
        for verb in ("rotate", "expire"):
            path = f"/v1/tokens/{token['token_id']}/{verb}"
            assert (await authority.http.post(path, json={})).status_code == 409
        body = {"selector": ["subject:agent:a"], "dry_run": True}
        blast = (await authority.http.post("/v1/revocations", json=body)).json()
        assert blast["tokens"] == 0


async def test_a_token_can_be_expired_before_the_clock_shows_that_it_was_issued(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        token = await authority.issue("agent:a", ttl=3600)
        await set_back(system)
        await call(authority, token, "expire")
        assert verdict.judge_state(await record(sidecar, token)) == Denied(Reason.EXPIRED)
        assert (await look(authority, token))["state"] == "expired"


async def test_a_rotated_secret_is_ended_at_a_position_and_its_token_goes_on(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        first = await authority.issue("agent:a", ttl=3600)
        second = await call(authority, first, "rotate")
        third = await call(authority, first, "rotate")
        await set_back(system)
        for old, ended in ((first, second), (second, third)):
            found = await record(sidecar, old)
            assert found.restrictions == (Restriction(ended["id"], ENDED, ended["seq"]),)
            assert verdict.judge_state(found) == Denied(Reason.EXPIRED)
            async with authority.as_bearer(old["token"]) as bearer:
                assert (await bearer.post("/v1/delegations", json=CHILD)).status_code == 401
        assert (await record(sidecar, third)).live
        assert (await look(authority, first))["state"] == "active"
        async with authority.as_bearer(third["token"]) as bearer:
            assert (await bearer.post("/v1/delegations", json=CHILD)).status_code == 201


async def test_every_secret_of_an_expired_token_is_ended(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        first = await authority.issue("agent:a", ttl=3600)
        second = await call(authority, first, "rotate", overlap=1800)
        await call(authority, first, "expire")
        await set_back(system)
        for each in (first, second):
            assert verdict.judge_state(await record(sidecar, each)) == Denied(Reason.EXPIRED)


async def test_the_footing_of_a_delegation_shows_the_end_of_the_parent(system: System) -> None:
    """Inside the transaction: the parent may be ended after its bearer was recognised."""
    async with serving(system) as authority, pool.connect(system.dsn) as postgres:
        parent, rotated = await authority.issue("agent:a"), await authority.issue("agent:b")
        ended = await call(authority, parent, "expire")
        replaced = await call(authority, rotated, "rotate")
        await set_back(system)
        async with PostgresLedger(postgres, guard(system.settings)).begin() as transaction:
            issuance = await transaction.read_issuance(
                token_format.digest(parent["token"]), [Handle("*")]
            )
            assert issuance.parent is not None
            found = record_of(issuance.parent, issuance.snapshot)
            assert found.restrictions == (Restriction(ended["id"], ENDED, ended["seq"]),)
            issuance = await transaction.read_issuance(
                token_format.digest(rotated["token"]), [Handle("*")]
            )
            assert issuance.parent is not None
            found = record_of(issuance.parent, issuance.snapshot)
            assert [(each.effect, each.seq) for each in found.restrictions] == [
                (ENDED, replaced["seq"])
            ]


async def test_an_admin_token_that_was_expired_is_refused_and_does_not_count(
    system: System,
) -> None:
    async with serving(system) as authority, pool.connect(system.dsn) as postgres:
        admin = await authority.issue(
            "admin:eve", kind="admin", scopes=["rescind:read"], audience=["rescind"]
        )
        await call(authority, admin, "expire")
        await set_back(system)
        async with authority.as_bearer(admin["token"]) as bearer:
            assert (await bearer.get("/v1/fleet")).status_code == 401
        handles = [Handle("kind:admin"), Handle("subject:admin:eve")]
        assert not await PostgresTokens(postgres).any_admin(handles)
        async with Migrator(postgres).alone() as schema:
            assert await schema.live_admins() == 1  # the one that asks here


async def test_a_suspension_takes_precedence_over_an_early_end_as_over_an_expiry(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        token = await authority.issue("agent:a")
        held = await authority.revoke("subject:agent:a", effect="suspend")
        await call(authority, token, "expire")
        assert verdict.judge_state(await record(sidecar, token)) == Denied(Reason.SUSPENDED)
        assert (await look(authority, token))["state"] == "suspended"
        assert await listed(authority, "suspended") == [token["token_id"]]
        lifted = await authority.http.post(f"/v1/revocations/{held['id']}/lift", json={})
        assert lifted.is_success, lifted.text
        assert (await look(authority, token))["state"] == "expired"
        assert token["token_id"] in await listed(authority, "expired")


async def test_tokens_that_are_expired_together_have_a_position_each(system: System) -> None:
    async with serving(system) as authority:
        ids = [(await authority.issue("agent:a"))["token_id"] for _ in range(9)]
        answer = await authority.http.post("/v1/tokens/expire", json={"token_ids": ids})
        seqs = {each["token_id"]: each["seq"] for each in answer.json()["outcomes"]}
        kept = await system.rows("SELECT token_id, ended_seq FROM tokens WHERE subject = 'agent:a'")
        assert {row["token_id"]: row["ended_seq"] for row in kept} == seqs
        assert sorted(seqs.values()) == list(range(1, 10))


async def test_a_repeated_expiry_under_its_key_ends_nothing_again(system: System) -> None:
    async with serving(system) as authority:
        token = await authority.issue("agent:a")
        path, headers = f"/v1/tokens/{token['token_id']}/expire", {"Idempotency-Key": "once"}
        first = (await authority.http.post(path, json={}, headers=headers)).json()
        await set_back(system)
        assert (await authority.http.post(path, json={}, headers=headers)).json() == first
        assert (await look(authority, token))["ended_seq"] == first["seq"]


@pytest.mark.parametrize(("ahead", "stands"), [("50 min", True), ("70 min", False)])
async def test_the_ledgers_time_does_not_run_back_behind_its_events_unless_by_an_hour(
    system: System, ahead: str, *, stands: bool
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        short = await authority.issue("agent:short", ttl=60)
        await authority.revoke("tenant:somebody-else")
        await system.rows("UPDATE ledger_head SET latest_at = now() + $1::text::interval", ahead)
        latest_us = (await system.rows("SELECT latest_at FROM ledger_head"))[0]["latest_at"]
        latest_us = latest_us.timestamp() * 1e6
        sidecar.enrolled.clear()  # by the time of the ledger it was silent, and enrols once more
        reply = await sidecar.beat()
        assert reply is not None
        issued = await authority.issue("agent:later")
        seen = await look(authority, short)
        times_us = [reply.authority_us, (await record(sidecar, issued)).issued_at_us]
        assert [each >= latest_us - 1 for each in times_us] == [stands] * 2
        assert seen["state"] == ("expired" if stands else "active")
        (instance,) = (await authority.http.get("/v1/fleet")).json()["instances"]
        assert instance["state"] == "live"  # its heartbeat has the same time
        assert (short["token_id"] in await listed(authority, "expired")) is stands


async def test_the_times_of_events_never_decrease(system: System) -> None:
    async with serving(system) as authority:
        await authority.revoke("tenant:one")
        await system.rows("UPDATE ledger_head SET latest_at = now() + interval '5 min'")
        await authority.revoke("tenant:two")
        await authority.revoke("tenant:three")
        found = await system.rows("SELECT committed_at FROM revocations ORDER BY seq")
        times = [row["committed_at"] for row in found]
        assert times == sorted(times)
        head = (await system.rows("SELECT latest_at FROM ledger_head"))[0]["latest_at"]
        assert head == times[-1]


async def test_the_migration_ends_or_schedules_ends_from_before_positions_were_stored(
    empty_system: System,
) -> None:
    """Migrate a database in which tokens were expired, rotated, and left alone."""
    async with pool.connect(empty_system.dsn) as postgres, Migrator(postgres).alone() as schema:
        await schema.migrate(tuple(step for step in known() if step.name < "0014"))
        await schema.begin_ledger(term_ms=10_000)
        await empty_system.rows(_BEFORE)
        await schema.migrate(known())
        found = await empty_system.rows("SELECT token_id, ending, ended_seq FROM tokens")
        assert {row["token_id"]: (row["ending"], row["ended_seq"]) for row in found} == {
            "tok_expired": (False, 0),
            "tok_expiring": (True, None),
            "tok_rotated": (True, None),
            "tok_over": (False, None),
            "tok_left_alone": (False, None),
        }
        found = await empty_system.rows("SELECT token_id, ended_seq FROM retired_secrets")
        ended = {(row["token_id"], row["ended_seq"]) for row in found}
        assert ended == {("tok_rotated", 0), ("tok_expiring", None)}
        head = (await empty_system.rows("SELECT latest_at FROM ledger_head"))[0]["latest_at"]
        last = "SELECT max(committed_at) AS at FROM revocations"
        assert head == (await empty_system.rows(last))[0]["at"]
        keyring = Keyring.create(root=bytes(32), now_us=0)
        records = PostgresRecords(postgres, guard_of(keyring))
        pending = await records.pending(limit=9)
        assert [each.token_id for each in pending] == ["tok_expiring"] * 2 + ["tok_rotated"]
        await RowRewriter(postgres, guard_of(keyring), keyring).adopt()
        states = (await records.by_id(["tok_expired", "tok_left_alone"])).tokens
        assert {each.token.grant.token_id: each.token.ended for each in states} == {
            "tok_expired": Ended(0, ""),
            "tok_left_alone": None,
        }


async def let_the_time_come(system: System) -> None:
    """Have what was to end in an hour have been due a minute ago."""
    await system.rows(
        "UPDATE tokens SET issued_at = issued_at - interval '2 h', "
        "expires_at = expires_at - interval '61 min' WHERE ending"
    )
    await system.rows(
        "UPDATE retired_secrets SET good_until = good_until - interval '61 min' "
        "WHERE ended_seq IS NULL"
    )


async def events_of_ends(system: System) -> list[tuple[int, str]]:
    found = await system.rows(
        "SELECT seq, anchor FROM revocations "
        "JOIN tokens ON anchor IN ('token:' || token_id, 'tree:' || token_id) "
        "WHERE actor = 'rescind:ends' AND subject <> 'agent:another' ORDER BY seq"
    )
    return [(row["seq"], row["anchor"]) for row in found]


async def look_again(authority: Running) -> None:
    """Let the authority look at what is due now: there is an end before its next look."""
    at = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    await call(authority, await authority.issue("agent:another"), "expire", at=at)


async def in_an_hour(authority: Running, token: dict[str, Any]) -> None:
    at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    await call(authority, token, "expire", at=at)


async def test_a_scheduled_end_is_committed_as_an_event_when_its_time_comes(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        token = await authority.issue("agent:a", ttl=7200)
        await in_an_hour(authority, token)
        assert (await record(sidecar, token)).live
        assert (await look(authority, token))["ended_seq"] is None
        await let_the_time_come(system)
        await look_again(authority)
        found = await eventually(lambda: events_of_ends(system))
        assert [anchor for _, anchor in found] == [f"tree:{token['token_id']}"]
        await set_back(system, "3 h")
        ended = await record(sidecar, token)
        assert [(each.effect, each.seq) for each in ended.restrictions] == [(ENDED, found[0][0])]
        assert verdict.judge_state(ended) == Denied(Reason.EXPIRED)


async def test_the_overlap_of_a_rotation_ends_by_an_event_too_and_the_token_goes_on(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        first = await authority.issue("agent:a", ttl=7200)
        second = await call(authority, first, "rotate", overlap=3600)
        assert (await record(sidecar, first)).live
        assert (await record(sidecar, second)).live
        await let_the_time_come(system)
        await look_again(authority)
        found = await eventually(lambda: events_of_ends(system))
        await set_back(system, "3 h")
        ended = await record(sidecar, first)
        assert [(each.effect, each.seq) for each in ended.restrictions] == [(ENDED, found[0][0])]
        assert (await record(sidecar, second)).live
        assert (await look(authority, first))["state"] == "active"


async def test_an_authority_that_starts_late_commits_overdue_ends(system: System) -> None:
    async with serving(system) as authority:
        issued = [await authority.issue("agent:a", ttl=7200) for _ in range(3)]
        for each in issued:
            await in_an_hour(authority, each)
    await let_the_time_come(system)
    assert await events_of_ends(system) == []
    async with serving(system):
        await eventually(lambda: events_of_ends(system), until=lambda found: len(found) == 3)
    kept = await system.rows("SELECT ended_seq FROM tokens WHERE ending")
    assert sorted(row["ended_seq"] for row in kept) == [4, 5, 6]


async def test_one_of_several_authorities_commits_each_due_end_under_one_key(
    system: System,
) -> None:
    async with serving(system) as authority:
        for number in range(20):
            token = await authority.issue("agent:a", ttl=7200)
            if number % 2:
                await in_an_hour(authority, token)
            else:
                await call(authority, token, "rotate", overlap=3600)
    await let_the_time_come(system)
    async with pool.connect(system.dsn) as postgres:
        records = PostgresRecords(postgres, guard(system.settings))
        sequencers = [sequencer(postgres, system) for _ in range(3)]
        timers = [
            EndTimer(records, sequencer=each, clock=SystemClock(), entropy=secrets.token_bytes)
            for each in sequencers
        ]
        running = [asyncio.create_task(each.run()) for each in sequencers]
        try:
            async with asyncio.TaskGroup() as tasks:
                for timer in timers:
                    tasks.create_task(timer.step())
        finally:
            for each in running:
                each.cancel()
        assert await records.pending(limit=99) == ()
    found = await events_of_ends(system)
    assert len({anchor for _, anchor in found}) == len(found) == 20
    keys = await system.rows("SELECT key FROM idempotency WHERE actor = 'rescind:ends'")
    assert len(keys) == 20


async def test_a_token_expired_before_its_scheduled_end_is_ended_once(system: System) -> None:
    async with serving(system) as authority:
        token = await authority.issue("agent:a", ttl=7200)
        await in_an_hour(authority, token)
        now = await call(authority, token, "expire")
        assert (await look(authority, token))["ended_seq"] == now["seq"]
        async with pool.connect(system.dsn) as postgres:
            assert await PostgresRecords(postgres, guard(system.settings)).pending(limit=9) == ()
            async with PostgresLedger(postgres, guard(system.settings)).begin() as transaction:
                assert await transaction.change(End(token["token_id"])) is None


async def test_a_scheduled_end_after_the_tokens_own_end_needs_no_event(system: System) -> None:
    async with serving(system) as authority:
        token = await authority.issue("agent:a", ttl=600)
        await in_an_hour(authority, token)  # later than its own end
        async with pool.connect(system.dsn) as postgres:
            assert await PostgresRecords(postgres, guard(system.settings)).pending(limit=9) == ()


def sequencer(postgres: Postgres, system: System) -> Sequencer:
    """Make the sequencer of one more authority, whose announcements no sidecar receives."""
    ledger = PostgresLedger(postgres, guard(system.settings))
    publisher = Publisher(
        announcer=SilentAnnouncer(), recent=RecentEvents(ledger, clock=SystemClock())
    )
    return Sequencer(ledger, publisher=publisher, clock=SystemClock(), metrics=PrometheusMetrics())


class SilentAnnouncer:
    def announce(self, batch: Batch) -> None:
        pass


_BEFORE = """
WITH token AS (
    INSERT INTO tokens (
        token_id, token_hash, kind, subject, scopes, audience, labels, handles, issued_at,
        issued_seq, expires_at, created_by
    )
    SELECT
        'tok_' || name, sha256(name::bytea), 'agent', 'agent:a', '{}', '{}', '{}', '{*}',
        now() - interval '9 h', 0, now() + left_to_it, 'test'
    FROM (
        VALUES
            ('expired', interval '-1 h'),
            ('expiring', interval '1 h'),
            ('rotated', interval '3 h'),
            ('over', interval '-1 h'),
            ('left_alone', interval '3 h')
    ) AS given (name, left_to_it)
), event AS (
    INSERT INTO events (seq, epoch, payload, head)
    SELECT seq, 1, '', sha256('') FROM generate_series(1, 3) AS seq
), change AS (
    INSERT INTO revocations (
        revocation_id, epoch, seq, effect, selector, anchor, exact, reason, actor, committed_at
    )
    SELECT
        'rev_' || seq, 1, seq, 'changed', ARRAY['token:tok_' || name], 'token:tok_' || name, true,
        '', 'test', now() - interval '4 h' + seq * interval '1 s'
    FROM (VALUES (1, 'expired'), (2, 'expiring'), (3, 'rotated')) AS given (seq, name)
), secret AS (
    INSERT INTO retired_secrets (token_hash, token_id, retired_at, good_until, revokes)
    VALUES
        (sha256('old'), 'tok_rotated', now() - interval '4 h', now() - interval '4 h', true),
        (sha256('older'), 'tok_expiring', now() - interval '4 h', now() + interval '1 h', true)
)
UPDATE ledger_head SET seq = 3
"""
