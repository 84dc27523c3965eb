"""How one epoch of the ledger follows another."""

from rescind.core import ledger


def test_an_epoch_continues_at_the_same_seq_with_its_own_head() -> None:
    end = ledger.genesis(1).after(b"one").after(b"two")
    begun = ledger.begin_epoch(end, epoch=7)
    assert (begun.epoch, begun.seq) == (7, 2)
    assert begun.head == ledger.extend(end.head, (7).to_bytes(8))


def test_two_restores_of_one_backup_are_two_histories() -> None:
    end = ledger.genesis(1).after(b"one")
    assert ledger.begin_epoch(end, epoch=2).head != ledger.begin_epoch(end, epoch=3).head
