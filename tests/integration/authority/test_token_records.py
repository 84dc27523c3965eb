"""Issue and resolve: what a record says is true at its as_of, whatever happens meanwhile."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.authority import Running, Sidecar, System, serving
from tests.support.rows import guard
from tests.support.sweeping import forbidden_to_sweep, swept

from rescind.core import verdict
from rescind.core.record import Record
from rescind.core.revocation import Effect, Restriction
from rescind_authority.ports.token_search import TokenFilter
from rescind_authority.postgres import pool
from rescind_authority.postgres.ledger import PostgresLedger
from rescind_authority.postgres.records import PostgresRecords
from rescind_authority.postgres.token_search import PostgresTokens
from rescind_authority.usecases.lookups.resolver import record_of, restrictions_of
from rescind_authority.usecases.read_model.inspector import State
from rescind_authority.usecases.read_model.token_search import TokenSearch
from rescind_runtime.clock import SystemClock


async def test_a_record_carries_the_token_s_facts(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        issued = await authority.issue(
            "user:42",
            kind="session",
            scopes=["read"],
            audience=["search"],
            labels={"team": "red"},
            tenant="t",
            client="web",
            session="s-1",
        )
        as_of, record = await sidecar.resolve(issued["token"])
        assert record is not None
        assert (as_of, record.as_of, record.epoch, record.issued_seq) == (0, 0, 1, 0)
        assert (record.token_id, record.subject, record.kind) == (
            issued["token_id"],
            "user:42",
            "session",
        )
        assert (record.scopes, record.audience) == (frozenset({"read"}), frozenset({"search"}))
        assert (record.tenant, record.client, record.session) == ("t", "web", "s-1")
        assert record.labels == (("team", "red"),)
        assert record.not_before_us == 0
        assert record.expires_at_us - record.issued_at_us == 3_600_000_000
        assert record.handles == tuple(sorted(issued["handles"]))
        assert record.live


async def test_an_unknown_token_is_answered_with_as_of_and_no_record(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        await authority.revoke("tenant:t")
        assert await sidecar.resolve("rsc_agt_unheard_of") == (1, None)


async def test_an_expired_token_still_resolves(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        issued = await authority.issue(ttl=0.000001)
        _, record = await sidecar.resolve(issued["token"])
        assert record is not None
        assert record.expires_at_us == record.issued_at_us + 1


async def test_times_keep_their_microseconds(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        issued = await authority.issue(
            not_before="2026-01-02T03:04:05.678901Z", ttl=366 * 24 * 3600
        )
        _, record = await sidecar.resolve(issued["token"])
        assert record is not None
        assert record.not_before_us % 1_000_000 == 678_901
        assert issued["not_before"] == "2026-01-02T03:04:05.678901Z"


async def test_only_an_explicit_cutoff_compares_times(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        old = await authority.issue()
        new = await authority.issue()
        await authority.revoke("subject:agent:a", issued_before=new["issued_at"])
        assert not (await _record(sidecar, old)).live
        assert (await _record(sidecar, new)).live


async def test_a_star_spares_admins_unless_they_are_named(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        admin = await authority.issue("admin:a", kind="admin")
        agent = await authority.issue()
        await authority.revoke("*")
        assert (await _record(sidecar, admin)).live
        assert not (await _record(sidecar, agent)).live
        assert (await authority.http.get(f"/v1/tokens/{admin['token_id']}")).json()[
            "state"
        ] == "active"


async def _record(sidecar: Sidecar, issued: Mapping[str, Any]) -> Record:
    _, record = await sidecar.resolve(issued["token"])
    assert record is not None
    return record


async def test_a_token_issued_after_a_revocation_is_good(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        for _ in range(3):
            await authority.revoke("subject:agent:a")  # "log out everywhere", often
        issued = await authority.issue()
        assert issued["issued_seq"] == 3
        assert (await _record(sidecar, issued)).live
        done = await authority.revoke("subject:agent:a")
        assert (await _record(sidecar, issued)).restrictions == (
            Restriction(done["id"], "revoke", 4),
        )


async def test_issuing_does_not_wait_for_a_concurrent_revocation_and_is_hit_by_it(
    system: System,
) -> None:
    """The head is read without its lock: with it, this token would outlive the revocation."""
    async with serving(system) as authority, system.sidecar() as sidecar:
        async with pool.connect(system.dsn) as postgres:
            async with PostgresLedger(postgres, guard(system.settings)).begin() as under_way:
                await under_way.lock_head()
                issued = await authority.issue()  # although the head is locked
                assert issued["issued_seq"] == 0
            done = await authority.revoke("subject:agent:a")
        assert done["seq"] > issued["issued_seq"]
        assert not (await _record(sidecar, issued)).live


async def test_issuing_and_revoking_at_once_leaves_no_token_that_should_be_dead(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        issued: list[tuple[int, dict[str, object], int]] = []
        revoked: list[tuple[int, int, int]] = []
        tick = iter(range(1_000_000))

        async def issue() -> None:
            for _ in range(15):
                began = next(tick)
                token = await authority.issue()
                issued.append((began, token, next(tick)))

        async def revoke() -> None:
            for _ in range(10):
                began = next(tick)
                done = await authority.revoke("subject:agent:a")
                revoked.append((began, done["seq"], next(tick)))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(issue())
            tasks.create_task(revoke())
            tasks.create_task(revoke())
        last = max(seq for _, seq, _ in revoked)
        for began, token, ended in issued:
            record = await _record(sidecar, token)
            assert record.live == (record.issued_seq >= last)
            for revoke_began, seq, revoke_ended in revoked:
                if revoke_ended < began:
                    assert record.issued_seq >= seq  # issued after: that revocation spares it
                if ended < revoke_began:
                    assert record.issued_seq < seq  # issued before: it is hit


async def test_a_record_and_its_as_of_come_from_one_snapshot(system: System) -> None:
    """A look-up that says "as of n" knows of every revocation up to n, and of none after."""
    async with serving(system) as authority, system.sidecar() as sidecar:
        tokens = [await authority.issue(f"agent:{number}") for number in range(8)]
        hit_at: dict[str, int] = {}
        seen: list[tuple[str, int, bool]] = []

        async def look() -> None:
            while len(hit_at) < len(tokens):
                token = random.choice(tokens)
                as_of, record = await sidecar.resolve(str(token["token"]))
                assert record is not None
                assert record.as_of == as_of
                seen.append((token["token_id"], as_of, record.live))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(6):
                tasks.create_task(look())
            for token in tokens:
                done = await authority.revoke(f"token:{token['token_id']}")
                hit_at[token["token_id"]] = done["seq"]
        assert len(seen) > len(tokens)
        for token_id, as_of, live in seen:
            assert live == (as_of < hit_at[token_id])


async def test_a_repeated_issue_returns_the_id_and_never_the_secret(system: System) -> None:
    async with serving(system) as authority:
        headers = {"Idempotency-Key": "once"}
        body = {"subject": "agent:a", "kind": "agent"}
        first = await authority.http.post("/v1/tokens", json=body, headers=headers)
        again = await authority.http.post("/v1/tokens", json=body, headers=headers)
        assert (first.status_code, again.status_code) == (201, 200)
        assert again.json()["token"] is None
        assert again.json() == first.json() | {"token": None}
        assert first.headers["idempotency-key"] == again.headers["idempotency-key"] == "once"
        other = await authority.http.post("/v1/tokens", json=body | {"ttl": 5}, headers=headers)
        assert (other.status_code, other.json()["type"]) == (
            422,
            "urn:rescind:problem:idempotency-key-reused",
        )
        revoke = {"selector": ["tenant:t"]}
        answer = await authority.http.post("/v1/revocations", json=revoke, headers=headers)
        assert answer.json()["type"] == "urn:rescind:problem:idempotency-key-reused"


async def test_a_repeated_revocation_returns_the_first_one(system: System) -> None:
    async with serving(system) as authority, serving(system) as other:
        headers = {"Idempotency-Key": "once"}
        body = {"selector": ["tenant:t"], "reason": "r"}
        first = await authority.http.post("/v1/revocations", json=body, headers=headers)
        again = await other.http.post(
            "/v1/revocations", json={"reason": "r", "selector": ["tenant:t"]}, headers=headers
        )
        assert again.json() == first.json()
        made = await authority.http.post("/v1/revocations", json=body)
        assert made.headers["idempotency-key"]
        assert made.json()["seq"] == 2
        bad = await authority.http.post(
            "/v1/revocations", json=body, headers={"Idempotency-Key": "x" * 201}
        )
        assert bad.json()["errors"][0]["field"] == "Idempotency-Key"


_HANDLES = ["subject:agent:a", "tenant:t", "label:k=v", "kind:agent", "kind:admin", "*"]


async def listed(lister: TokenSearch, state: State | None) -> Sequence[str]:
    return (await lister.page(TokenFilter(state=state), before=None, limit=1000)).token_ids


async def test_the_list_the_sweep_and_the_pure_rule_agree_on_which_tokens_are_denied(
    system: System,
) -> None:
    async with serving(system) as authority:
        random_source = random.Random(8)
        for _ in range(60):
            if random_source.random() < 0.6:
                await _issue_some(authority, random_source)
            else:
                await _revoke_some(authority, system, random_source)
        # Half stay a revoke; the others become an effect that cannot be commanded yet.
        await system.rows(
            """
            UPDATE revocations
            SET effect = (
                ARRAY['suspend', 'narrow', 'lift', 'changed', 'unheard of']
            )[seq / 2 % 5 + 1]
            WHERE seq % 2 = 0 RETURNING seq
            """
        )
        await system.rows("UPDATE sweep SET seq = 0")
        await system.rows("DELETE FROM revoked_tokens")
        async with pool.connect(system.dsn) as postgres, forbidden_to_sweep(system):
            lister = TokenSearch(PostgresTokens(postgres), clock=SystemClock())
            everything = await listed(lister, None)
            snapshot = await PostgresRecords(postgres, guard(system.settings)).by_id(everything)
            computed = {state: set(await listed(lister, state)) for state in State}
        await swept(system)
        async with pool.connect(system.dsn) as postgres:
            lister = TokenSearch(PostgresTokens(postgres), clock=SystemClock())
            stamped = {state: set(await listed(lister, state)) for state in State}
        by_rule: dict[State, set[str]] = {state: set() for state in State}
        by_revoke: set[str] = set()
        for state in snapshot.tokens:
            held = verdict.judge_state(record_of(state, snapshot))
            by_rule[State.ACTIVE if held is None else State(held.reason)].add(
                state.token.grant.token_id
            )
            if any(each.effect == Effect.REVOKE for each in restrictions_of(state)):
                by_revoke.add(state.token.grant.token_id)
        assert computed == stamped == by_rule
        found = await system.rows("SELECT token_id FROM revoked_tokens")
        assert {row["token_id"] for row in found} == by_revoke != set()
        assert all(by_rule[state] for state in (State.ACTIVE, State.SUSPENDED, State.REVOKED))


async def test_a_lift_and_a_change_deny_no_token(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        issued = await authority.issue()
        suspended = await authority.revoke("subject:agent:a", effect="suspend")
        assert (await _record(sidecar, issued)).restrictions
        lifted = await authority.http.post(f"/v1/revocations/{suspended['id']}/lift", json={})
        assert lifted.is_success, lifted.text
        assert (await _record(sidecar, issued)).restrictions == ()
        path = f"/v1/tokens/{issued['token_id']}/rotate"
        rotated = await authority.http.post(path, json={"overlap": 600})
        assert (await _record(sidecar, rotated.json())).restrictions == ()
        assert (await _record(sidecar, issued)).restrictions == ()


async def _issue_some(authority: Running, random_source: random.Random) -> None:
    issued = await authority.issue(
        random_source.choice(["agent:a", "agent:b"]),
        kind=random_source.choice(["agent", "admin"]),
        **random_source.choice([{}, {"tenant": "t"}]),
        **random_source.choice([{}, {"labels": {"k": "v"}}]),
    )
    if issued["kind"] == "agent":
        added = random_source.choice([{}, {"labels": {"k": "v"}}])
        async with authority.as_bearer(issued["token"]) as bearer:
            await bearer.post(
                "/v1/delegations", json={"subject": issued["subject"] + "/x", **added}
            )


async def _revoke_some(authority: Running, system: System, random_source: random.Random) -> None:
    selector = random_source.sample(_HANDLES, random_source.choice([1, 2]))
    # `kind:admin` alone would end us too.
    selector = [*selector, "label:k=v"] if "kind:admin" in selector else selector
    moments = await system.rows("SELECT issued_at FROM tokens ORDER BY issued_at")
    moment = random_source.choice(moments)["issued_at"]
    cutoff = random_source.choice([{}, {"issued_before": moment.isoformat()}])
    await authority.revoke(*selector, exact=random_source.choice([True, False]), **cutoff)
