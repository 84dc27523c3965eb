"""The sweep marks exactly the tokens that a revoke ended, in turns, whichever process dies."""

import asyncio
import hashlib
import secrets
import signal
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from tests.support import processes
from tests.support.authority import Running, System, serving
from tests.support.eventually import eventually
from tests.support.grants import grant
from tests.support.lone_sweeper import WHOLE
from tests.support.rows import guard
from tests.support.sweeping import forbidden_to_sweep, stamps, swept

from rescind.core import public_ids
from rescind_authority import actors
from rescind_authority.errors import StoreUnavailableError
from rescind_authority.ports.ledger import IdempotentRequest, Key
from rescind_authority.ports.revocations import Sweeps
from rescind_authority.ports.tokens import IssueTimes, NewToken
from rescind_authority.postgres import pool
from rescind_authority.postgres.ledger import PostgresLedger
from rescind_authority.postgres.pool import Postgres
from rescind_authority.postgres.revoked_marks import PostgresSweeps, PostgresSweepTransaction
from rescind_authority.postgres.token_search import PostgresTokens
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.usecases.ledger.idempotency import KEPT_S, IdempotencyKeyReaper
from rescind_authority.usecases.read_model.revoked_marks import Sweeper
from rescind_runtime.clock import SystemClock

FAMILY = 100


def sweeper(postgres: Postgres, sweeps: Sweeps | None = None, *, most: int = 10) -> Sweeper:
    return Sweeper(
        sweeps or PostgresSweeps(postgres),
        tokens=PostgresTokens(postgres),
        clock=SystemClock(),
        metrics=PrometheusMetrics(),
        most=most,
    )


async def state(authority: Running, token: dict[str, Any]) -> str:
    for each in ("active", "revoked", "suspended"):
        page = (await authority.http.get("/v1/tokens", params={"state": each})).json()
        if token["token_id"] in [listed["token_id"] for listed in page["tokens"]]:
            return each
    return "missing"


async def look(authority: Running, revocation: dict[str, Any]) -> dict[str, Any]:
    answer = await authority.http.get(f"/v1/revocations/{revocation['id']}")
    found: dict[str, Any] = answer.json()
    return found


async def multiply(system: System, token: dict[str, Any], count: int) -> None:
    """Add tokens like this one, without an audit entry for each."""
    await system.rows(
        """
        INSERT INTO tokens (
            token_hash, token_id, kind, subject, scopes, audience, labels, handles, issued_at,
            issued_seq, expires_at, created_by
        )
        SELECT
            sha256(n::text::bytea), 'tok_' || lpad(n::text, 26, '0'), kind, subject, scopes,
            audience, labels, handles, issued_at, issued_seq, expires_at, created_by
        FROM tokens, generate_series(1, $2) AS n
        WHERE token_id = $1
        """,
        token["token_id"],
        count,
    )


async def test_a_revoke_is_listed_at_once_and_stamped_soon(system: System) -> None:
    async with serving(system) as authority:
        token, other = await authority.issue("agent:a"), await authority.issue("agent:b")
        async with forbidden_to_sweep(system):
            revoked = await authority.revoke("subject:agent:a")
            assert await state(authority, token) == "revoked"
            assert await state(authority, other) == "active"
            assert (await look(authority, revoked))["swept"] == {"tokens": 0, "done": False}
        await swept(system)
        assert await stamps(system) == {token["token_id"]: revoked["seq"]}
        assert await state(authority, token) == "revoked"
        assert await state(authority, other) == "active"
        assert (await look(authority, revoked))["swept"] == {"tokens": 1, "done": True}
        assert await authority.metric("rescind_authority_sweep_rows_total") == 1
        assert await authority.metric("rescind_authority_sweep_backlog_events") == 0


async def test_a_token_issued_after_a_revoke_is_not_stamped(system: System) -> None:
    async with serving(system) as authority:
        before = await authority.issue("agent:a")
        async with forbidden_to_sweep(system):
            await authority.revoke("subject:agent:a")
            after = await authority.issue("agent:a")
        await swept(system)
        assert set(await stamps(system)) == {before["token_id"]}
        assert await state(authority, after) == "active"


async def test_a_cutoff_ends_descendants_of_older_tokens_too(system: System) -> None:
    async with serving(system) as authority:
        old = await authority.issue("agent:a")
        cutoff = datetime.now(UTC)
        async with authority.as_bearer(old["token"]) as bearer:
            child = (await bearer.post("/v1/delegations", json={"subject": "agent:a/x"})).json()
        young = await authority.issue("agent:a")
        await authority.revoke("subject:agent:a", issued_before=cutoff.isoformat())
        await swept(system)
        assert set(await stamps(system)) == {old["token_id"], child["token_id"]}
        assert await state(authority, young) == "active"


async def test_a_revocation_that_can_be_lifted_never_stamps_a_token(system: System) -> None:
    async with serving(system) as authority:
        token = await authority.issue("agent:a")
        for effect, rest in (("suspend", {}), ("narrow", {"scopes": ["x"]})):
            await authority.revoke("subject:agent:a", effect=effect, **rest)
        killed = await authority.revoke("chain:agent:b", effect="kill")
        await swept(system)
        assert await stamps(system) == {}
        assert await state(authority, token) == "suspended"
        assert (await look(authority, killed))["swept"] == {"tokens": 0, "done": True}
        listed = (await authority.http.get("/v1/revocations")).json()["revocations"]
        assert [each["swept"] is None for each in listed] == [True, False, True, True]


@asynccontextmanager
async def crowd(system: System, *, size: int = FAMILY) -> AsyncGenerator[tuple[Postgres, int]]:
    """Leave a revoke of many tokens unswept, with no process that sweeps."""
    async with serving(system) as authority:
        token = await authority.issue("agent:crowd")
        await multiply(system, token, size - 1)
        async with forbidden_to_sweep(system):
            revoked = await authority.revoke("subject:agent:crowd")
            await authority.revoke("subject:agent:other")
    async with pool.connect(system.dsn) as postgres:
        yield postgres, revoked["seq"]


async def stamped_for(system: System, seq: int) -> int:
    found = await system.rows("SELECT stamped FROM revocations WHERE seq = $1", seq)
    return int(found[0]["stamped"])


async def test_a_turn_of_the_sweep_is_bounded_and_any_process_takes_the_next_one(
    system: System,
) -> None:
    async with crowd(system) as (postgres, seq):
        counted = [0]
        while counted[-1] < FAMILY:
            await sweeper(postgres).step()  # each time another process, which knows nothing
            counted.append(len(await stamps(system)))
            assert 0 <= counted[-1] - counted[-2] <= 10, counted
            assert len(counted) < 50, counted
        assert await stamped_for(system, seq) == FAMILY


class InterruptedSweeps(PostgresSweeps):
    """Dies in each turn after the stamps and before the commit."""

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[PostgresSweepTransaction | None]:
        async with super().turn() as turn:
            yield turn
            raise StoreUnavailableError("the test cut it off")


async def test_an_interrupted_turn_of_the_sweep_changes_nothing(system: System) -> None:
    async with crowd(system) as (postgres, seq):
        await sweeper(postgres).step()
        before = await stamps(system)
        with pytest.raises(StoreUnavailableError):
            await until_swept(sweeper(postgres, InterruptedSweeps(postgres)))
        assert await stamps(system) == before
        await until_swept(sweeper(postgres))
        assert len(await stamps(system)) == await stamped_for(system, seq) == FAMILY


async def test_a_killed_process_leaves_only_complete_turns_of_the_sweep(system: System) -> None:
    async with crowd(system, size=300) as (postgres, seq):
        command = ("-m", "tests.support.lone_sweeper", system.dsn)
        with processes.running(*command, environ=processes.clean_environment()) as run:
            await eventually(lambda: stamps(system), until=lambda seen: len(seen) >= WHOLE)
            run.end(signal.SIGKILL)  # in a turn that has stamped, and does not end
        # Its last transaction may still be on its way to its end.
        await eventually(lambda: no_sweep_is_running(system))
        left_behind = len(await stamps(system))
        assert left_behind == WHOLE
        assert left_behind == await stamped_for(system, seq)
        await until_swept(sweeper(postgres, most=500))
        assert len(await stamps(system)) == await stamped_for(system, seq) == 300


async def no_sweep_is_running(system: System) -> bool:
    found = await system.rows("SELECT FROM sweep FOR UPDATE SKIP LOCKED")
    return len(found) == 1


async def until_swept(each: Sweeper) -> None:
    await each.step()
    while each.waiting:
        await each.step()


async def test_two_authorities_share_the_sweep_and_do_nothing_twice(system: System) -> None:
    async with crowd(system) as (postgres, seq):
        both = [sweeper(postgres), sweeper(postgres)]

        async def work(each: Sweeper) -> None:
            while len(await stamps(system)) < FAMILY:
                await each.step()

        async with asyncio.TaskGroup() as tasks:
            for each in both:
                tasks.create_task(work(each))
        # Each row was counted by the process that marked it.
        assert await stamped_for(system, seq) == FAMILY


class UnfencedSweeps(PostgresSweeps):
    """Sweeps that wait for no transaction: the control."""

    async def passed(self, fence: int) -> bool:
        return True


@pytest.mark.parametrize("fenced", [True, False])
async def test_a_token_that_is_stored_while_a_revoke_hits_it_is_stamped_too(
    system: System, *, fenced: bool
) -> None:
    """Issuing reads the ledger's end, then a revoke is committed, then the token is."""
    kind = PostgresSweeps if fenced else UnfencedSweeps
    async with serving(system) as authority, pool.connect(system.dsn) as postgres:
        async with PostgresLedger(postgres, guard(system.settings)).begin() as transaction:
            token = new_token("agent:late")
            await transaction.lock_keys(
                [IdempotentRequest(Key("test", token.grant.token_id), token.token_hash)]
            )
            issuance = await transaction.read_issuance(None, token.grant.handles)
            async with forbidden_to_sweep(system):
                revoked = await authority.revoke("subject:agent:late")
            sweeping = sweeper(postgres, kind(postgres))
            for _ in range(5):
                await sweeping.step()
            at_us = issuance.snapshot.at_us
            await transaction.insert_token(
                token, IssueTimes(at_us, issuance.snapshot.as_of, at_us + 10**9)
            )
        if fenced:
            await eventually(lambda: stamps(system))
            assert await stamps(system) == {token.grant.token_id: revoked["seq"]}
        else:
            assert await stamps(system) == {}
            assert sweeping.waiting == 0


def new_token(subject: str) -> NewToken:
    token_id = public_ids.make(
        "tok", now_ms=0, entropy=secrets.token_bytes(public_ids.ENTROPY_BYTES)
    )
    token_hash = hashlib.sha256(token_id.encode()).digest()
    return NewToken(token_hash, grant(token_id, subject=subject))


async def test_an_idempotency_key_is_deleted_a_day_after_its_first_use(system: System) -> None:
    async with serving(system) as authority:
        old = await revoke_under(authority, "old")
        new = await revoke_under(authority, "new")
        assert (await revoke_under(authority, "old"))["id"] == old["id"]
        await grow_old(system, KEPT_S + 60, ["old"])
        await grow_old(system, KEPT_S - 60, ["new"])
        async with pool.connect(system.dsn) as postgres:
            assert await IdempotencyKeyReaper(PostgresSweeps(postgres)).step() == 1
            assert await IdempotencyKeyReaper(PostgresSweeps(postgres)).step() == 0
        assert (await revoke_under(authority, "old"))["id"] != old["id"]
        assert (await revoke_under(authority, "new"))["id"] == new["id"]


@pytest.mark.parametrize("actor", [actors.RECOVERY, actors.REUSE_DETECTION])
async def test_idempotency_keys_of_recovery_and_reuse_detection_are_never_deleted(
    system: System, actor: str
) -> None:
    async with serving(system) as authority:
        await revoke_under(authority, "lost")
        await system.rows("UPDATE idempotency SET actor = $1", actor)
        await grow_old(system, KEPT_S * 1_000, ["lost"])
        async with pool.connect(system.dsn) as postgres:
            assert await IdempotencyKeyReaper(PostgresSweeps(postgres)).step() == 0


async def revoke_under(authority: Running, key: str) -> dict[str, Any]:
    answer = await authority.http.post(
        "/v1/revocations", json={"selector": ["tenant:t"]}, headers={"Idempotency-Key": key}
    )
    assert answer.status_code == httpx2.codes.CREATED, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def grow_old(system: System, seconds: int, keys: Collection[str]) -> None:
    await system.rows(
        "UPDATE idempotency SET claimed_at = now() - $1::interval WHERE key = ANY ($2)",
        timedelta(seconds=seconds),
        list(keys),
    )
