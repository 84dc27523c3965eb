"""The ports Revocations and Sweeps. In memory there are only the revocations that end by time."""

import secrets
from dataclasses import replace

import pytest
from tests.contracts.store import PostgresStore, Store, claim, new_token, revocation

from rescind.core.handles import Handle
from rescind.core.revocation import Effect, Event, Revocation, lift_of
from rescind_authority.ports.ledger import FirstRequest, LedgerEntry
from rescind_authority.ports.revocations import (
    Revoke,
    ScheduledLift,
    StoredRevocation,
    SweepCursor,
    Swept,
)

FAR_US = 86_400_000_000


async def timed(store: Store, event: Event) -> ScheduledLift | None:
    """Read the end of one revocation."""
    listed = await store.scheduled_lifts.scheduled_lifts(limit=10_000)
    return next((each for each in listed if each.event == event), None)


async def until(store: Store, revoked: Revocation, *, left_us: int = FAR_US) -> Revocation:
    """Return a revocation that ends by itself, in so many microseconds of Postgres's clock."""
    return replace(revoked, until_us=(await store.ledger.tip()).at_us + left_us)


def lift(event: Event) -> Revocation:
    """Return the lift of a revocation."""
    return lift_of(event, revocation_id=revocation("*").revocation_id, reason="over", actor="test")


# On both adapters --------------------------------------------------------------------------------


@pytest.mark.parametrize("effect", [Effect.SUSPEND, Effect.NARROW])
async def test_a_revocation_with_an_end_is_listed_with_the_time_left(
    store: Store, effect: Effect
) -> None:
    (entry,) = await store.commit(await until(store, revocation("tenant:a", effect)))
    found = await timed(store, entry.event)
    assert found is not None
    assert 0 < found.left_us <= FAR_US


async def test_a_revocation_whose_end_has_passed_is_listed_first(store: Store) -> None:
    wished = revocation("tenant:a", Effect.SUSPEND)
    later, over = await store.commit(
        await until(store, wished),
        await until(store, revocation("tenant:a", Effect.SUSPEND), left_us=-FAR_US),
    )
    listed = [each.event for each in await store.scheduled_lifts.scheduled_lifts(limit=10_000)]
    assert listed.index(over.event) < listed.index(later.event)
    found = await timed(store, over.event)
    assert found is not None
    assert found.left_us <= 0


async def test_a_list_of_ends_has_at_most_the_limit_and_the_first_to_end(store: Store) -> None:
    await store.commit(
        *[await until(store, revocation("tenant:a", Effect.SUSPEND)) for _ in range(3)]
    )
    listed = await store.scheduled_lifts.scheduled_lifts(limit=10_000)
    assert [each.event for each in await store.scheduled_lifts.scheduled_lifts(limit=2)] == [
        each.event for each in listed[:2]
    ]


async def test_a_revocation_without_an_end_is_not_listed_among_ends(store: Store) -> None:
    revoke, suspended = await store.commit(
        await until(store, revocation("tenant:a", Effect.REVOKE)),
        revocation("tenant:a", Effect.SUSPEND),
    )
    assert await timed(store, revoke.event) is None
    assert await timed(store, suspended.event) is None


async def test_a_lifted_revocation_has_no_end_any_more(store: Store) -> None:
    (entry,) = await store.commit(await until(store, revocation("tenant:a", Effect.SUSPEND)))
    await store.commit(lift(entry.event))
    assert await timed(store, entry.event) is None


async def test_an_end_states_whether_its_revocation_is_exact(store: Store) -> None:
    exact, wide = (
        await until(store, revocation("tenant:a", Effect.SUSPEND)),
        await until(store, revocation("tenant:a", Effect.SUSPEND)),
    )
    entries = await store.commit(exact, wide, exact=[exact.revocation_id])
    found = [await timed(store, entry.event) for entry in entries]
    assert [each is not None and each.exact for each in found] == [True, False]


# On Postgres alone -------------------------------------------------------------------------------


async def test_a_revocation_is_read_as_it_was_committed(postgres_store: PostgresStore) -> None:
    (entry,) = await postgres_store.commit(revocation("tenant:a", Effect.SUSPEND))
    revocation_id = entry.event.revocation.revocation_id
    assert await postgres_store.revocations.get(revocation_id) == StoredRevocation(
        entry.event, exact=False, lifted_at_us=None
    )


async def test_a_revocation_that_was_never_committed_is_not_read(
    postgres_store: PostgresStore,
) -> None:
    assert await postgres_store.revocations.get(revocation("tenant:a").revocation_id) is None


async def test_a_lift_stamps_the_time_on_what_it_lifts(postgres_store: PostgresStore) -> None:
    (entry,) = await postgres_store.commit(revocation("tenant:a", Effect.SUSPEND))
    (lifted,) = await postgres_store.commit(lift(entry.event))
    found = await postgres_store.revocations.get(entry.event.revocation.revocation_id)
    assert found is not None
    assert found.lifted_at_us == lifted.event.at_us


async def test_reading_a_kill_returns_its_suspension(postgres_store: PostgresStore) -> None:
    revoke = revocation("tenant:a")
    suspend = replace(revoke, effect=Effect.SUSPEND)
    _, entry = await postgres_store.commit(revoke, suspend)
    found = await postgres_store.revocations.get(revoke.revocation_id)
    assert found is not None
    assert (found.event, found.killed) == (entry.event, True)
    assert found.swept == Swept(0, done=False)


async def test_pages_of_revocations_are_newest_first_and_miss_none(
    postgres_store: PostgresStore,
) -> None:
    entries = await postgres_store.commit(*(revocation("tenant:a") for _ in range(5)))
    newest_first = [entry.event for entry in reversed(entries)]
    before, found = None, list[Event]()
    while len(found) < len(entries):
        page = await postgres_store.revocations.page(before_seq=before, limit=2)
        assert len(page) == 2
        found += [each.event for each in page]
        before = found[-1].seq
    assert found[: len(entries)] == newest_first


async def test_only_a_revocation_that_a_lift_could_end_is_active(
    postgres_store: PostgresStore,
) -> None:
    tenant = f"tenant:{secrets.token_hex(8)}"
    revoke, suspended, lifted, narrowed = await postgres_store.commit(
        revocation(tenant),
        revocation(tenant, Effect.SUSPEND),
        revocation(tenant, Effect.SUSPEND),
        revocation(tenant, Effect.NARROW),
    )
    await postgres_store.commit(lift(lifted.event))
    assert await _active(postgres_store, tenant) == [narrowed.event, suspended.event]
    assert await _active(postgres_store, tenant, before_seq=narrowed.event.seq) == [suspended.event]
    assert await _active(postgres_store, tenant, limit=1) == [narrowed.event]
    everything = await postgres_store.revocations.standing_revocations(
        [], before_seq=None, limit=10_000
    )
    events = [each.event for each in everything]
    assert suspended.event in events
    assert revoke.event not in events


async def _active(
    store: PostgresStore, tenant: str, *, before_seq: int | None = None, limit: int = 100
) -> list[Event]:
    found = await store.revocations.standing_revocations(
        [Handle(tenant)], before_seq=before_seq, limit=limit
    )
    return [each.event for each in found]


async def test_the_backlog_counts_the_revokes_that_the_sweep_has_not_reached(
    postgres_store: PostgresStore,
) -> None:
    await _swept_to_the_end(postgres_store)
    entries = await postgres_store.commit(
        revocation("tenant:a"), revocation("tenant:a", Effect.SUSPEND), revocation("tenant:b")
    )
    backlog = await postgres_store.sweeps.backlog()
    assert (backlog.head, backlog.waiting) == (entries[-1].event.seq, 2)
    assert backlog.swept == entries[0].event.seq - 1


async def test_a_turn_names_the_next_revokes_in_their_order(postgres_store: PostgresStore) -> None:
    await _swept_to_the_end(postgres_store)
    one, _, two, _ = await postgres_store.commit(
        revocation("tenant:a"),
        revocation("tenant:a", Effect.SUSPEND),
        revocation("tenant:b"),
        revocation("tenant:c"),
    )
    async with postgres_store.sweeps.turn() as turn:
        assert turn is not None
        found = await turn.next_revokes(up_to=two.event.seq, most=9)
        assert found == (_revoke(one), _revoke(two))
        assert await turn.next_revokes(up_to=two.event.seq, most=1) == (_revoke(one),)


async def test_a_sweep_marks_each_token_that_its_revoke_hits_exactly_once(
    postgres_store: PostgresStore,
) -> None:
    await _swept_to_the_end(postgres_store)
    hit, other = new_token(), new_token()
    for token in (hit, other):
        await postgres_store.issue(token)
    (entry,) = await postgres_store.commit(revocation(f"subject:{hit.grant.subject}"))
    seq, token_ids = entry.event.seq, [hit.grant.token_id, other.grant.token_id]
    async with postgres_store.sweeps.turn() as turn:
        assert turn is not None
        assert [await turn.mark(seq, token_ids) for _ in range(2)] == [1, 0]
        await turn.store_progress(SweepCursor(seq, None))
    found = await postgres_store.revocations.get(entry.event.revocation.revocation_id)
    assert found is not None
    assert found.swept == Swept(1, done=True)


async def test_a_sweep_continues_where_the_last_turn_stopped(postgres_store: PostgresStore) -> None:
    await _swept_to_the_end(postgres_store)
    (entry,) = await postgres_store.commit(revocation("tenant:a"))
    place = SweepCursor(entry.event.seq - 1, new_token().grant.token_id)
    async with postgres_store.sweeps.turn() as turn:
        assert turn is not None
        await turn.store_progress(place)
    async with postgres_store.sweeps.turn() as turn:
        assert turn is not None
        assert turn.place == place


async def test_only_one_turn_of_the_sweep_runs_at_a_time(postgres_store: PostgresStore) -> None:
    async with postgres_store.sweeps.turn() as first, postgres_store.sweeps.turn() as second:
        assert first is not None
        assert second is None
    async with postgres_store.sweeps.turn() as third:
        assert third is not None


async def test_a_fence_is_passed_when_the_earlier_transactions_have_ended(
    postgres_store: PostgresStore,
) -> None:
    async with postgres_store.transactions.begin() as transaction:
        await transaction.lock_keys([claim()])  # from its first write on, it has a number
        fence = await postgres_store.sweeps.fence()
        assert not await postgres_store.sweeps.passed(fence)
    assert await postgres_store.sweeps.passed(fence)


async def test_old_keys_are_forgotten_except_those_of_named_actors(
    postgres_store: PostgresStore,
) -> None:
    mine, kept = claim(), claim()
    kept = replace(kept, key=replace(kept.key, actor="kept"))
    async with postgres_store.transactions.begin() as transaction:
        await transaction.lock_keys([mine, kept])
        await transaction.store_answers({mine.key: "done", kept.key: "done"})
    sweeps = postgres_store.sweeps
    assert await sweeps.forget_keys(older_than_s=3_600, but=["kept"], most=100) == 0
    assert await sweeps.forget_keys(older_than_s=-1, but=["kept"], most=10_000) >= 1
    async with postgres_store.transactions.begin() as transaction:
        claimed = await transaction.lock_keys([mine, kept])
    assert claimed == {
        mine.key: FirstRequest(mine.body_hash, None),
        kept.key: FirstRequest(kept.body_hash, "done"),
    }


def _revoke(entry: LedgerEntry) -> Revoke:
    return Revoke(entry.event.seq, entry.event.revocation.selector.handles)


async def _swept_to_the_end(store: PostgresStore) -> None:
    """Let the sweep be at the ledger's end, so that a test sees its own revokes alone."""
    head = (await store.sweeps.backlog()).head
    async with store.sweeps.turn() as turn:
        assert turn is not None
        await turn.store_progress(SweepCursor(head, None))
