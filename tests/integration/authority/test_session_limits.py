"""Sessions that are not used, or too many, end in the ledger: on a real Postgres."""

import asyncio
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.authority import Running, System, serving
from tests.support.eventually import eventually
from tests.support.rows import guard

from rescind.core import public_ids
from rescind_authority.operator import bootstrap
from rescind_authority.ports.token_search import Use
from rescind_authority.postgres import pool
from rescind_authority.postgres.records import PostgresRecords
from rescind_authority.postgres.token_search import PostgresTokens
from rescind_authority.usecases.tokens.end_timer import USE_REPORTED_WITHIN_S

DELAY_US = USE_REPORTED_WITHIN_S * 1_000_000


async def log_in(authority: Running, subject: str = "user:42", **facts: object) -> dict[str, Any]:
    return await authority.issue(subject, kind="session", ttl=86_400, **facts)


async def look(authority: Running, token: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (await authority.http.get(f"/v1/tokens/{token['token_id']}")).json()
    return found


async def states(authority: Running, *sessions: dict[str, Any]) -> list[str]:
    return [(await look(authority, each))["state"] for each in sessions]


async def pass_time(system: System, minutes: int) -> None:
    """Make the ledger, and everything of sessions, so much older."""
    await system.rows(
        """
        WITH moved AS (
            UPDATE idle_timeouts SET look_at = look_at - $1 * interval '1 minute'
        ), began AS (
            UPDATE ledger_epochs SET began_at = began_at - $1 * interval '1 minute'
        )
        UPDATE tokens SET
            issued_at = issued_at - $1 * interval '1 minute',
            last_used_at = last_used_at - $1 * interval '1 minute'
        WHERE kind = 'session'
        """,
        minutes,
    )


async def end_idle(system: System) -> int:
    async with pool.connect(system.dsn) as postgres:
        return await PostgresRecords(postgres, guard(system.settings)).end_idle(
            delay_us=DELAY_US, limit=100
        )


async def look_again(authority: Running) -> None:
    """Make the authority look at once: there is an end before its next look."""
    at = (datetime.now(UTC) + timedelta(seconds=0.3)).isoformat()
    other = await authority.issue("agent:another")
    await authority.http.post(f"/v1/tokens/{other['token_id']}/expire", json={"at": at})


async def use(system: System, token: dict[str, Any]) -> None:
    async with pool.connect(system.dsn) as postgres:
        (row,) = await postgres.rows("ledger_tip")
        await PostgresTokens(postgres).mark_used([Use(token["token_id"], bytes(16), row["at"])])


async def test_an_idle_session_ends_by_an_event_that_the_token_and_its_verifiers_show(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        idle = await log_in(authority, idle=1_800)
        used, forever = await log_in(authority, idle=1_800), await log_in(authority, idle=0)
        assert [each["idle"] for each in (idle, forever)] == [1_800, None]
        _, before = await sidecar.resolve(idle["token"])
        assert before is not None
        assert before.restrictions == ()
        await pass_time(system, 36)
        await end_idle(system)
        assert await states(authority, idle, used, forever) == ["active"] * 3
        await use(system, used)
        await pass_time(system, 2)
        await end_idle(system)
        await look_again(authority)
        await eventually(lambda: look(authority, idle), until=lambda seen: seen["ended_seq"])
        assert await states(authority, idle, used, forever) == ["expired", "active", "active"]
        seen = await look(authority, idle)
        assert "not used" in seen["ended_reason"]
        event = (await authority.http.get(f"/v1/revocations/{seen['ended_by']}")).json()
        assert (event["actor"], event["effect"]) == ("rescind:ends", "changed")
        _, after = await sidecar.resolve(idle["token"])
        assert after is not None
        assert [each.seq for each in after.restrictions] == [seen["ended_seq"]]
        # An owner is shown what is good.
        async with authority.as_bearer(used["token"]) as bearer:
            mine = (await bearer.get("/v1/sessions")).json()["sessions"]
        assert {each["token_id"] for each in mine} == {used["token_id"], forever["token_id"]}


async def test_ended_and_deleted_sessions_are_no_longer_examined(system: System) -> None:
    async with serving(system) as authority:
        revoked, expired = await log_in(authority, idle=60), await log_in(authority, idle=60)
        await authority.revoke(f"token:{revoked['token_id']}")
        await authority.http.post(f"/v1/tokens/{expired['token_id']}/expire", json={})
        await system.rows(
            "INSERT INTO idle_timeouts VALUES ($1, 60000000, now())",
            public_ids.make("tok", now_ms=1, entropy=bytes(10)),
        )
        await pass_time(system, 60)
        await end_idle(system)
        assert await system.rows("SELECT * FROM idle_timeouts") == []
        assert await states(authority, revoked, expired) == ["revoked", "expired"]
        events = await system.rows("SELECT FROM revocations WHERE actor = 'rescind:ends'")
        assert events == []


async def test_a_use_recorded_while_its_session_is_examined_counts(system: System) -> None:
    async with serving(system, connected=False) as authority:
        session = await log_in(authority, idle=60)
    await pass_time(system, 60)
    async with pool.connect(system.dsn) as postgres:
        async with postgres.transaction() as connection:
            # Uncommitted, as by an authority whose COMMIT is under way.
            await connection.execute(
                "UPDATE tokens SET last_used_at = now() WHERE token_id = $1", session["token_id"]
            )
            records = PostgresRecords(postgres, guard(system.settings))
            assert await records.end_idle(delay_us=DELAY_US, limit=9) == 1
        await records.end_idle(delay_us=DELAY_US, limit=9)
        rows = await system.rows("SELECT ending FROM tokens WHERE kind = 'session'")
        assert [row["ending"] for row in rows] == [False]


async def test_after_a_restore_no_session_ends_for_uses_that_were_lost(
    system: System,
) -> None:
    async with serving(system, connected=False) as authority:
        session = await log_in(authority, idle=60)
    await pass_time(system, 60)
    await bootstrap.new_epoch(system.settings, unknown_grace_ms=0)
    await end_idle(system)
    rows = "SELECT t.ending FROM tokens AS t WHERE t.token_id = $1"
    assert [row["ending"] for row in await system.rows(rows, session["token_id"])] == [False]
    await pass_time(system, 9)
    await end_idle(system)
    assert [row["ending"] for row in await system.rows(rows, session["token_id"])] == [True]


async def test_beyond_the_limit_the_least_recently_used_session_ends(system: System) -> None:
    async with serving(system.but(sessions_per_subject=3)) as authority:
        sessions = [await log_in(authority) for _ in range(3)]
        other, agent = await log_in(authority, "user:7"), await authority.issue("user:42")
        gone = await log_in(authority, "user:9")
        await authority.revoke(f"token:{gone['token_id']}")
        again = [await log_in(authority, "user:9") for _ in range(3)]
        await use(system, sessions[0])
        newest = await log_in(authority)
        ended = await eventually(
            lambda: look(authority, sessions[1]), until=lambda seen: seen["ended_seq"]
        )
        assert "logged in elsewhere" in ended["ended_reason"]
        kept = (sessions[0], sessions[2], newest, other, agent, *again)
        assert set(await states(authority, *kept)) == {"active"}
        # Logging out everywhere ends whatever there is, however many there were.
        async with authority.as_bearer(newest["token"]) as bearer:
            await bearer.post("/v1/sessions/logout", json={"everywhere": True, "wait": False})
        assert await states(authority, *sessions, newest) == [
            "revoked", "revoked", "revoked", "revoked",
        ]  # fmt: skip


async def test_two_concurrent_authorities_leave_no_subject_above_its_session_limit(
    system: System,
) -> None:
    bounded = system.but(sessions_per_subject=3)
    async with serving(bounded) as one, serving(bounded, prepare=False, connected=False) as other:
        sessions = await asyncio.gather(*(log_in((one, other)[number % 2]) for number in range(20)))
        live = [state for state in await states(one, *sessions) if state == "active"]
        assert len(live) == 3
        open_ends = "SELECT FROM tokens WHERE ending AND ended_seq IS NULL"
        await eventually(lambda: system.rows(open_ends), until=lambda rows: not rows)
        events = await system.rows("SELECT FROM revocations WHERE actor = 'rescind:ends'")
        assert len(events) == 17


async def test_a_repeated_login_ends_nothing(system: System) -> None:
    async with serving(system.but(sessions_per_subject=1)) as authority:
        headers = {"Idempotency-Key": secrets.token_hex(8)}
        wish = {"subject": "user:42", "kind": "session"}
        for status in (201, 200):
            answer = await authority.http.post("/v1/tokens", json=wish, headers=headers)
            assert answer.status_code == status
        assert await states(authority, answer.json()) == ["active"]
