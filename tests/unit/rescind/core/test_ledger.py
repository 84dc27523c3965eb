"""The hash chain, with pinned heads."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st
from tests.support import messages

from rescind.core import ledger
from rescind.core.ledger import Position
from rescind.wire import events


def test_a_ledger_begins_with_the_hash_of_its_epoch() -> None:
    assert ledger.genesis(1) == Position(
        1, 0, bytes.fromhex("cd2662154e6d76b2b2b92e70c0cac3ccf534f9b74eb5b89819ec509083d00a50")
    )
    assert ledger.genesis(2).head == hashlib.sha256(b"\0\0\0\0\0\0\0\x02").digest()


def test_the_head_after_one_pinned_event_is_pinned() -> None:
    position = ledger.genesis(1).after(events.encode(messages.BARE_EVENT))
    assert position.seq == 1
    head = "ca4091ff6bf83830fce8c58833f83c874c1faef099aacd3129e58b7f65d8dd72"
    assert position.head.hex() == head


def test_a_head_covers_the_head_before_and_the_exact_bytes() -> None:
    head = hashlib.sha256(b"before").digest()
    assert ledger.extend(head, b"payload") == hashlib.sha256(head + b"payload").digest()


@given(st.lists(st.binary(max_size=20)))
def test_replaying_equals_applying_the_events_one_after_the_other(payloads: list[bytes]) -> None:
    start = position = ledger.genesis(3)
    for payload in payloads:
        position = position.after(payload)
    assert ledger.replay(start, payloads) == position
    assert position.seq == len(payloads)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=8), st.data())
def test_any_change_of_history_changes_the_head(payloads: list[bytes], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(payloads) - 1))
    other = data.draw(st.binary(max_size=8).filter(lambda payload: payload != payloads[place]))
    changed = [*payloads[:place], other, *payloads[place + 1 :]]
    start = ledger.genesis(1)
    assert ledger.replay(start, changed).head != ledger.replay(start, payloads).head
    assert ledger.replay(start, payloads[1:]).head != ledger.replay(start, payloads).head
    assert ledger.replay(ledger.genesis(2), payloads).head != ledger.replay(start, payloads).head


def test_an_epoch_continues_at_the_same_seq_with_its_own_head() -> None:
    end = ledger.genesis(1).after(b"one").after(b"two")
    begun = ledger.begin_epoch(end, epoch=7)
    assert (begun.epoch, begun.seq) == (7, 2)
    assert begun.head == ledger.extend(end.head, (7).to_bytes(8))


def test_two_restores_of_one_backup_are_two_histories() -> None:
    end = ledger.genesis(1).after(b"one")
    assert ledger.begin_epoch(end, epoch=2).head != ledger.begin_epoch(end, epoch=3).head
