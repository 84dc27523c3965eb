"""The ports Transactions, Ledger and Epochs."""

import asyncio
import secrets
from dataclasses import replace

import pytest
from tests.contracts.store import Store, claim, first, revocation
from tests.support.ledger_entries import append

from rescind.core import ledger
from rescind_authority.ports.ledger import EventRange, FirstRequest


class _CrashError(Exception):
    """What a caller fails with in the middle of a transaction."""


async def test_the_tip_is_the_position_that_the_events_lead_to(store: Store) -> None:
    before = (await store.ledger.tip()).position
    entries = await store.commit(revocation("tenant:a"), revocation("tenant:b"))
    after = (await store.ledger.tip()).position
    assert after == ledger.replay(before, [entry.payload for entry in entries])


async def test_the_time_of_a_tip_never_runs_backwards(store: Store) -> None:
    (entry,) = await store.commit(revocation("tenant:a"))
    assert (await store.ledger.tip()).at_us >= entry.event.at_us


async def test_events_are_read_in_their_order_after_a_seq(store: Store) -> None:
    before = (await store.ledger.tip()).position
    entries = await store.commit(*(revocation(f"tenant:{name}") for name in "abc"))
    payloads = tuple(entry.payload for entry in entries)
    start, end = before.seq, before.seq + 3
    found = await store.ledger.after(start, limit=2)
    assert found == EventRange(before.epoch, end, start + 1, payloads[:2])
    found = await store.ledger.after(start + 2, limit=2)
    assert found == EventRange(before.epoch, end, start + 3, payloads[2:])


async def test_reading_after_the_end_returns_no_event(store: Store) -> None:
    await store.commit(revocation("tenant:a"))
    end = (await store.ledger.tip()).position
    assert await store.ledger.after(end.seq, limit=9) == EventRange(
        end.epoch, end.seq, end.seq + 1, ()
    )


async def test_nothing_of_a_transaction_is_seen_before_its_commit(store: Store) -> None:
    before = (await store.ledger.tip()).position
    mine = revocation("tenant:a")
    async with store.transactions.begin() as transaction:
        await append(transaction, [mine])
        assert (await store.ledger.tip()).position == before
        assert await store.receipts.entries_of(mine.revocation_id) == ()
    assert (await store.ledger.tip()).position.seq == before.seq + 1
    assert len(await store.receipts.entries_of(mine.revocation_id)) == 1


async def test_a_failed_transaction_leaves_nothing_behind(store: Store) -> None:
    before, mine, wish = (await store.ledger.tip()).position, revocation("tenant:a"), claim()

    async def crash() -> None:
        async with store.transactions.begin() as transaction:
            assert first(await transaction.lock_keys([wish]), wish)
            await append(transaction, [mine], answers={wish.key: "never"})
            raise _CrashError

    with pytest.raises(_CrashError):
        await crash()
    assert (await store.ledger.tip()).position == before
    assert await store.receipts.entries_of(mine.revocation_id) == ()
    async with store.transactions.begin() as transaction:
        assert first(await transaction.lock_keys([wish]), wish)


async def test_two_transactions_append_one_after_the_other(store: Store) -> None:
    before = (await store.ledger.tip()).position
    entries = await asyncio.gather(*(store.commit(revocation(f"tenant:{n}")) for n in range(8)))
    seqs = sorted(entry.event.seq for (entry,) in entries)
    assert seqs == list(range(before.seq + 1, before.seq + 9))
    payloads = (await store.ledger.after(before.seq, limit=8)).payloads
    assert (await store.ledger.tip()).position == ledger.replay(before, payloads)


async def test_a_repeated_claim_reads_the_answer_of_the_first(store: Store) -> None:
    wish = claim(b"first")
    async with store.transactions.begin() as transaction:
        assert first(await transaction.lock_keys([wish]), wish)
        await append(transaction, [revocation("tenant:a")], answers={wish.key: "done"})
    again = replace(wish, body_hash=claim(b"second").body_hash)
    async with store.transactions.begin() as transaction:
        claimed = await transaction.lock_keys([again])
    assert claimed == {wish.key: FirstRequest(wish.body_hash, "done")}


async def test_an_answer_without_an_event_is_stored_too(store: Store) -> None:
    wish = claim()
    async with store.transactions.begin() as transaction:
        await transaction.lock_keys([wish])
        await transaction.store_answers({wish.key: "nothing to do"})
    async with store.transactions.begin() as transaction:
        assert (await transaction.lock_keys([wish]))[wish.key].answer == "nothing to do"


async def test_a_claim_waits_for_the_transaction_that_has_the_key(store: Store) -> None:
    wish, claimed = claim(), asyncio.Event()

    async def second() -> FirstRequest:
        async with store.transactions.begin() as transaction:
            await claimed.wait()
            return (await transaction.lock_keys([wish]))[wish.key]

    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(second())
        async with store.transactions.begin() as transaction:
            assert first(await transaction.lock_keys([wish]), wish)
            claimed.set()
            await transaction.store_answers({wish.key: "mine"})
            assert not waiting.done()
    assert waiting.result() == FirstRequest(wish.body_hash, "mine")


async def test_the_first_epoch_is_known_from_the_start(store: Store) -> None:
    known = await store.epochs.known()
    assert [(each.number, each.base_seq, each.base_head) for each in known] == [
        (1, 0, ledger.genesis(1).head)
    ]


async def test_payloads_are_read_by_seq_and_missing_ones_are_left_out(store: Store) -> None:
    one, two = await store.commit(revocation("tenant:a"), revocation("tenant:b"))
    far = two.event.seq + 1_000_000
    assert await store.epochs.payloads([one.event.seq, two.event.seq, far]) == {
        one.event.seq: one.payload,
        two.event.seq: two.payload,
    }


async def test_heads_and_entries_are_those_that_were_appended(store: Store) -> None:
    one, two = await store.commit(revocation("tenant:a"), revocation("tenant:b"))
    heads = await store.receipts.heads([one.event.seq, two.event.seq])
    assert heads == {entry.event.seq: (entry.event.epoch, entry.head) for entry in (one, two)}
    assert await store.receipts.entries_of(one.event.revocation.revocation_id) == (one,)
    assert await store.receipts.entries_of(f"rev_{secrets.token_hex(13)}") == ()
