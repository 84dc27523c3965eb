"""The ports TokenRecords and Ends, and what a transaction changes of tokens."""

import hashlib
import secrets
from dataclasses import replace

import pytest
from tests.contracts.store import LIFE_US, Store, new_token, revocation
from tests.support.ledger_entries import append

from rescind.core.revocation import Effect, lift_of
from rescind.core.token_format import Kind
from rescind_authority.ports.ledger import End, Expiry, RecordedChange, Rotation
from rescind_authority.ports.tokens import EndReason, NewToken, ScheduledEnd

HOUR_US = 3_600_000_000


class _CrashError(Exception):
    """What a caller fails with in the middle of a transaction."""


def rotation(token: NewToken, *, overlap_us: int = 0, replaces: bytes | None = None) -> Rotation:
    """Make the rotation of a token to a secret that is new."""
    return Rotation(
        token_id=token.grant.token_id,
        replaces=replaces,
        token_hash=hashlib.sha256(secrets.token_bytes(32)).digest(),
        overlap_us=overlap_us,
        reuse_revokes=True,
    )


async def test_a_token_is_read_as_it_was_stored(store: Store) -> None:
    token = new_token()
    await store.issue(token)
    stored = await store.token(token.token_hash)
    assert (stored.token_hash, stored.grant) == (token.token_hash, token.grant)
    assert stored.expires_at_us - stored.issued_at_us == LIFE_US
    assert (stored.retired, stored.ended, stored.last_used_at_us) == (None, None, None)
    (by_id,) = (await store.records.by_id([token.grant.token_id])).tokens
    assert by_id.token == stored


async def test_a_secret_that_no_token_has_is_not_found(store: Store) -> None:
    token = new_token()
    await store.issue(token)
    snapshot = await store.records.by_hash([secrets.token_bytes(32)])
    assert snapshot.tokens == ()
    assert snapshot.as_of == (await store.ledger.tip()).position.seq


async def test_many_tokens_are_read_in_one_snapshot(store: Store) -> None:
    issued = [new_token() for _ in range(3)]
    for token in issued:
        await store.issue(token)
    unknown = secrets.token_bytes(32)
    found = await store.records.by_hash([*(each.token_hash for each in issued), unknown])
    assert {each.token.grant.token_id for each in found.tokens} == {
        each.grant.token_id for each in issued
    }


@pytest.mark.parametrize("effect", [Effect.REVOKE, Effect.SUSPEND, Effect.NARROW])
async def test_a_revocation_is_a_candidate_of_the_tokens_that_it_selects(
    store: Store, effect: Effect
) -> None:
    one, other = new_token(), new_token()
    for token in (one, other):
        await store.issue(token)
    (entry,) = await store.commit(revocation(f"subject:{one.grant.subject}", effect))
    found = {
        state.token.grant.token_id: [each.event for each in state.candidates]
        for state in (await store.records.by_id([one.grant.token_id, other.grant.token_id])).tokens
    }
    assert entry.event in found[one.grant.token_id]
    assert entry.event not in found[other.grant.token_id]


async def test_a_lifted_revocation_is_no_longer_a_candidate(store: Store) -> None:
    token = new_token()
    await store.issue(token)
    (suspended,) = await store.commit(revocation(f"subject:{token.grant.subject}", Effect.SUSPEND))
    lift_id = revocation("*").revocation_id
    await store.commit(lift_of(suspended.event, revocation_id=lift_id, reason="", actor="test"))
    state = await store.look_up(token.token_hash)
    assert state is not None
    assert suspended.event not in [each.event for each in state.candidates]


async def test_the_footing_of_a_root_has_no_parent_and_the_revocations_that_would_apply(
    store: Store,
) -> None:
    token = new_token()
    (entry,) = await store.commit(revocation(f"subject:{token.grant.subject}", Effect.SUSPEND))
    async with store.transactions.begin() as transaction:
        footing = await transaction.read_issuance(None, token.grant.handles)
    assert footing.parent is None
    assert entry.event in [each.event for each in footing.candidates]
    assert footing.snapshot.as_of >= entry.event.seq


async def test_the_footing_of_a_child_shows_its_parent(store: Store) -> None:
    parent = new_token()
    await store.issue(parent)
    (entry,) = await store.commit(revocation(f"subject:{parent.grant.subject}", Effect.SUSPEND))
    async with store.transactions.begin() as transaction:
        footing = await transaction.read_issuance(parent.token_hash, [])
        unknown = await transaction.read_issuance(secrets.token_bytes(32), [])
    assert footing.parent is not None
    assert footing.parent.token.grant.token_id == parent.grant.token_id
    assert entry.event in [each.event for each in footing.parent.candidates]
    assert unknown.parent is None


async def test_a_token_that_was_rotated_is_found_by_both_secrets(store: Store) -> None:
    token = new_token()
    await store.issue(token)
    change = rotation(token, overlap_us=HOUR_US // 2)
    assert await store.change(change) == RecordedChange(None)
    new, old = await store.token(change.token_hash), await store.token(token.token_hash)
    assert (new.grant.token_id, old.grant.token_id) == (token.grant.token_id, token.grant.token_id)
    assert new.retired is None
    assert old.retired is not None
    assert old.retired.good_until_us - old.retired.at_us == HOUR_US // 2
    assert old.retired.revokes


async def test_a_rotated_token_is_read_by_its_id_as_one_token(store: Store) -> None:
    token = new_token()
    await store.issue(token)
    change = rotation(token, overlap_us=HOUR_US // 2)
    await store.change(change)
    (state,) = (await store.records.by_id([token.grant.token_id])).tokens
    assert (state.token.token_hash, state.token.retired) == (change.token_hash, None)


async def test_a_retired_secret_has_the_hash_by_which_its_holder_is_recognised(
    store: Store,
) -> None:
    token = replace(new_token(), possession_hash=secrets.token_bytes(32))
    await store.issue(token)
    first = replace(
        rotation(token, overlap_us=HOUR_US // 2), possession_hash=secrets.token_bytes(32)
    )
    second = rotation(token, overlap_us=HOUR_US // 2)
    for change in (first, second):
        await store.change(change)
    old, newer = await store.token(token.token_hash), await store.token(first.token_hash)
    assert old.retired is not None
    assert newer.retired is not None
    assert old.retired.possession_hash == token.possession_hash
    assert newer.retired.possession_hash == first.possession_hash


async def test_a_token_ends_with_its_parent(store: Store) -> None:
    parent, child = new_token(), new_token()
    lineage = replace(child.grant, lineage=(parent.grant.token_id,), chain=(parent.grant.subject,))
    child = replace(child, grant=lineage)
    for token in (parent, child):
        await store.issue(token)
    until_us = (await store.token(parent.token_hash)).issued_at_us + HOUR_US // 2
    await store.change(Expiry(parent.grant.token_id, until_us))
    assert (await store.token(child.token_hash)).expires_at_us == until_us
    await store.change(Expiry(parent.grant.token_id, None))
    ended = (await store.token(parent.token_hash)).ended
    assert ended is not None
    assert (await store.token(child.token_hash)).ended == ended


async def test_a_secret_without_an_overlap_ends_by_the_rotations_event(store: Store) -> None:
    token = new_token()
    await store.issue(token)
    change = rotation(token)
    assert await store.change(change) == RecordedChange(End(token.grant.token_id, token.token_hash))
    seq = (await store.ledger.tip()).position.seq
    old, new = await store.token(token.token_hash), await store.token(change.token_hash)
    assert old.ended is not None
    assert old.ended.seq == seq
    assert new.ended is None


async def test_a_rotation_of_a_secret_that_the_token_does_not_have_changes_nothing(
    store: Store,
) -> None:
    token = new_token()
    await store.issue(token)
    before = await store.token(token.token_hash)
    change = rotation(token, replaces=secrets.token_bytes(32))
    assert await store.change(change) is None
    assert await store.token(token.token_hash) == before
    assert await store.look_up(change.token_hash) is None
    assert await store.change(rotation(token, replaces=token.token_hash)) is not None


async def test_an_expiry_ends_the_token_now_or_brings_its_end_forward(store: Store) -> None:
    now, later = new_token(), new_token()
    for token in (now, later):
        await store.issue(token)
    assert await store.change(Expiry(now.grant.token_id, None)) == RecordedChange(
        End(now.grant.token_id)
    )
    assert (await store.token(now.token_hash)).ended is not None

    until_us = (await store.token(later.token_hash)).issued_at_us + HOUR_US // 2
    assert await store.change(Expiry(later.grant.token_id, until_us)) == RecordedChange(None)
    stored = await store.token(later.token_hash)
    assert (stored.expires_at_us, stored.ended) == (until_us, None)


async def test_an_expiry_never_postpones_an_end(store: Store) -> None:
    token = new_token()
    await store.issue(token)
    before = await store.token(token.token_hash)
    await store.change(Expiry(token.grant.token_id, before.expires_at_us + HOUR_US))
    assert (await store.token(token.token_hash)).expires_at_us == before.expires_at_us


async def test_an_ended_or_unknown_token_is_not_changed(store: Store) -> None:
    token, unknown = new_token(), new_token()
    await store.issue(token)
    await store.change(Expiry(token.grant.token_id, None))
    before = await store.token(token.token_hash)
    for change in (
        rotation(token),
        Expiry(token.grant.token_id, None),
        Expiry(unknown.grant.token_id, None),
    ):
        assert await store.change(change) is None
    assert await store.token(token.token_hash) == before


async def test_a_scheduled_end_is_listed_until_its_event_is_committed(store: Store) -> None:
    token = new_token()
    await store.issue(token)
    until_us = (await store.token(token.token_hash)).issued_at_us + HOUR_US // 2
    await store.change(Expiry(token.grant.token_id, until_us))
    (pending,) = await _pending(store, token)
    assert pending.token_hash is None
    assert 0 < pending.left_us <= HOUR_US // 2
    assert await store.change(End(token.grant.token_id)) == RecordedChange(
        End(token.grant.token_id)
    )
    assert await _pending(store, token) == []
    assert (await store.token(token.token_hash)).ended is not None
    assert await store.change(End(token.grant.token_id)) is None


async def test_a_change_in_a_failed_transaction_has_no_effect(store: Store) -> None:
    token = new_token()
    await store.issue(token)
    before = await store.token(token.token_hash)

    async def crash() -> None:
        async with store.transactions.begin() as transaction:
            await transaction.change(Expiry(token.grant.token_id, None))
            await append(transaction, [revocation("*")], ends=[End(token.grant.token_id)])
            raise _CrashError

    with pytest.raises(_CrashError):
        await crash()
    assert await store.token(token.token_hash) == before


async def test_a_secret_is_presented_in_the_snapshot_of_its_transaction(store: Store) -> None:
    token = new_token()
    await store.issue(token)
    async with store.transactions.begin() as transaction:
        before = await transaction.read_presented(token.token_hash)
        (entry,) = await store.commit(revocation(f"subject:{token.grant.subject}"))
        after = await transaction.read_presented(token.token_hash)
    assert entry.event not in [each.event for each in before.tokens[0].candidates]
    assert entry.event in [each.event for each in after.tokens[0].candidates]


async def test_the_sessions_of_a_subject_that_were_used_least_are_ended(store: Store) -> None:
    subject = f"user:{secrets.token_hex(8)}"
    sessions = [new_token(subject, kind=Kind.SESSION) for _ in range(3)]
    for session in sessions:
        await store.issue(session)
    other = new_token(f"{subject}x", kind=Kind.SESSION)
    await store.issue(other)
    async with store.transactions.begin() as transaction:
        await transaction.lock_sessions(subject)
        assert await transaction.end_surplus(subject, keep=1) == 2
    left = [each for each in sessions if await _lives(store, each)]
    assert len(left) == 1
    assert await _lives(store, other)


async def test_a_surplus_session_is_scheduled_to_end_with_its_reason(store: Store) -> None:
    session = new_token(f"user:{secrets.token_hex(8)}", kind=Kind.SESSION)
    await store.issue(session)
    async with store.transactions.begin() as transaction:
        assert await transaction.end_surplus(session.grant.subject, keep=0) == 1
    (pending,) = await _pending(store, session)
    assert pending.reason is EndReason.SURPLUS
    assert pending.left_us <= 0


async def test_a_revoked_session_does_not_count_as_a_surplus_one(store: Store) -> None:
    subject = f"user:{secrets.token_hex(8)}"
    sessions = [new_token(subject, kind=Kind.SESSION) for _ in range(2)]
    for session in sessions:
        await store.issue(session)
    await store.commit(revocation(f"token:{sessions[0].grant.token_id}"))
    async with store.transactions.begin() as transaction:
        assert await transaction.end_surplus(subject, keep=0) == 1
    assert [await _lives(store, each) for each in sessions] == [True, False]


async def test_a_session_does_not_end_before_its_last_use_is_known(store: Store) -> None:
    session = new_token(kind=Kind.SESSION)
    session = replace(session, grant=replace(session.grant, idle_us=1))
    await store.issue(session)
    await store.ends.end_idle(delay_us=HOUR_US, limit=1_000)
    assert await _pending(store, session) == []


async def test_a_session_ends_once_it_was_idle_for_as_long_as_it_may_be(store: Store) -> None:
    idle, revoked, busy = (new_token(kind=Kind.SESSION) for _ in range(3))
    idle, revoked = (
        replace(each, grant=replace(each.grant, idle_us=1)) for each in (idle, revoked)
    )
    busy = replace(busy, grant=replace(busy.grant, idle_us=HOUR_US))
    for session in (idle, revoked, busy):
        await store.issue(session)
    await store.commit(revocation(f"token:{revoked.grant.token_id}"))
    assert await store.ends.end_idle(delay_us=0, limit=1_000) >= 1
    (pending,) = await _pending(store, idle)
    assert pending.reason is EndReason.IDLE
    assert await _pending(store, revoked) == await _pending(store, busy) == []


async def _lives(store: Store, token: NewToken) -> bool:
    stored = await store.token(token.token_hash)
    return stored.expires_at_us - stored.issued_at_us == LIFE_US


async def _pending(store: Store, token: NewToken) -> list[ScheduledEnd]:
    found = await store.ends.pending(limit=1_000)
    return [each for each in found if each.token_id == token.grant.token_id]
