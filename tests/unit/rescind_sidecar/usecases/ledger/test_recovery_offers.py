"""Which signed batches a sidecar keeps, and when it offers them."""

import hashlib
import itertools
from typing import Any

import pytest

from rescind.errors import UnreachableError
from rescind.wire import recovery_offer
from rescind.wire.events import Batch
from rescind_sidecar.ports import InstanceCredentials
from rescind_sidecar.usecases.ledger import recovery_offers as module
from rescind_sidecar.usecases.ledger.recovery_offers import RecoveryOffers

CREDENTIALS = InstanceCredentials(b"i" * 16, b"s" * 32)


class Current:
    epoch = 9
    credentials = CREDENTIALS

    def __init__(self, instance: bytes) -> None:
        self.instance = instance


class Incarnations:
    def __init__(self) -> None:
        self.current = Current(b"1")


class Link:
    def __init__(self, *, enough_after: int = 99, failures: int = 0) -> None:
        self.offered: list[bytes] = []
        self._enough_after = enough_after
        self._failures = failures

    async def offer(
        self, message: recovery_offer.Offer, credentials: InstanceCredentials
    ) -> recovery_offer.OfferAnswer:
        assert credentials == CREDENTIALS
        if self._failures:
            self._failures -= 1
            raise UnreachableError("not now")
        self.offered.append(message.batch)
        return recovery_offer.OfferAnswer(wanted=len(self.offered) < self._enough_after)


def batch(epoch: int) -> Batch:
    return Batch(epoch, 1, bytes(32), bytes(32), awaited=False, payloads=())


def placed(seq: int, *, epoch: int = 1, history: bytes = b"") -> Batch:
    """Make the batch of one event, chained to those beside it in its history."""
    before, after = (hashlib.sha256(b"%s%d" % (history, each)).digest() for each in (seq - 1, seq))
    return Batch(epoch, seq, before, after, awaited=False, payloads=(b"",))


class Ledger:
    """Answer offers as a restored ledger does: it has some batches, and wants what it lacks."""

    def __init__(self, *has: bytes) -> None:
        self._has = has
        self.offered: list[bytes] = []

    async def offer(
        self, message: recovery_offer.Offer, credentials: InstanceCredentials
    ) -> recovery_offer.OfferAnswer:
        self.offered.append(message.batch)
        return recovery_offer.OfferAnswer(wanted=message.batch not in self._has)


def offers(link: Link | Ledger, *, most_bytes: int = 1_000) -> RecoveryOffers:
    anything: Any = Incarnations()
    somebody: Any = link
    return RecoveryOffers(anything, somebody, most_bytes=most_bytes)


async def test_batches_of_an_earlier_epoch_are_offered_newest_first_and_once() -> None:
    link = Link()
    kept = offers(link)
    kept.keep(batch(1), b"one")
    kept.keep(batch(1), b"two")
    kept.keep(batch(9), b"of this epoch")
    await kept._offer_all()
    await kept._offer_all()
    assert link.offered == [b"two", b"one"]


async def test_an_unanswered_offer_is_kept_and_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 0)
    link = Link(failures=module._MAX_ATTEMPTS)
    kept = offers(link)
    kept.keep(batch(1), b"one")
    kept.keep(batch(1), b"two")
    await kept._offer_all()
    assert link.offered == [b"one"]  # the newest was tried in vain, and stays
    await kept._offer_all()
    assert link.offered == [b"one", b"two"]
    assert not kept._batches


async def test_offering_stops_when_the_ledger_knows_the_rest() -> None:
    link = Link(enough_after=1)
    kept = offers(link)
    for payload in (b"one", b"two", b"three"):
        kept.keep(batch(1), payload)
    await kept._offer_all()
    assert link.offered == [b"three"]


async def test_batches_of_another_instance_are_offered_although_the_ledger_knows_the_newest() -> (
    None
):
    # The ledger was set back, and went on without a new epoch: two histories, one of them lost.
    link = Link(enough_after=1)
    kept = offers(link)
    kept.keep(batch(1), b"lost")
    now: Any = kept._instances
    now.current = Current(b"2")
    kept.keep(batch(1), b"of the new history")
    await kept._offer_all()
    assert link.offered == [b"of the new history", b"lost"]


def test_the_oldest_batches_make_room_for_new_ones() -> None:
    kept = offers(Link(), most_bytes=10)
    for payload in (b"12345", b"67890", b"abcde"):
        kept.keep(batch(1), payload)
    assert [each.payload for each in kept._batches] == [b"67890", b"abcde"]


def test_only_a_later_epoch_makes_the_offers_due() -> None:
    kept = offers(Link())
    kept.note_epoch(9)
    kept.keep(batch(1), b"one")
    kept.note_epoch(1)
    assert not kept._due.is_set()
    kept.note_epoch(9)
    assert kept._due.is_set()


def test_a_batch_of_an_earlier_epoch_makes_offers_due_even_after_one_of_a_later_epoch() -> None:
    kept = offers(Link())
    kept.keep(placed(2, epoch=9), b"new")
    kept.keep(placed(1), b"late")
    kept.note_epoch(9)
    assert kept._due.is_set()


@pytest.mark.parametrize("arrived", list(itertools.permutations((1, 2, 3))))
@pytest.mark.parametrize("restored_to", [0, 1, 2, 3])
async def test_no_order_of_arrival_loses_a_batch(
    arrived: tuple[int, ...], restored_to: int
) -> None:
    ledger = Ledger(*(b"%d" % seq for seq in range(1, restored_to + 1)))
    kept = offers(ledger)
    for seq in arrived:
        kept.keep(placed(seq), b"%d" % seq)
    await kept._offer_all()
    # From the newest down to the first that the ledger has, and no further.
    assert ledger.offered == [b"%d" % seq for seq in range(3, max(restored_to, 1) - 1, -1)]
    assert not kept._batches
    assert kept._bytes == 0


async def test_a_batch_of_another_history_that_the_ledger_has_proves_nothing_of_this_one() -> None:
    # The ledger was set back to 1 without a new epoch and went on; both came to one instance.
    ledger = Ledger(b"1", b"2'", b"3'")
    kept = offers(ledger)
    for seq in (1, 2, 3):
        kept.keep(placed(seq), b"%d" % seq)
    for seq in (2, 3):
        kept.keep(placed(seq, history=b"'"), b"%d'" % seq)
    await kept._offer_all()
    assert {b"2", b"3"} <= set(ledger.offered)


async def test_a_replayed_old_batch_does_not_hide_a_lost_one() -> None:
    ledger = Ledger(b"1", b"2")
    kept = offers(ledger)
    for seq in (1, 2, 3, 4, 1):
        kept.keep(placed(seq), b"%d" % seq)
    await kept._offer_all()
    assert ledger.offered[:2] == [b"4", b"3"]


async def test_epochs_are_offered_in_their_order_whatever_came_first() -> None:
    ledger = Ledger(b"2")
    kept = offers(ledger)
    kept.keep(placed(7, epoch=3), b"3.7")
    kept.keep(placed(2), b"2")
    kept.keep(placed(3), b"3")
    kept.keep(placed(6, epoch=3), b"3.6")
    await kept._offer_all()
    assert ledger.offered == [b"3.7", b"3.6", b"3", b"2"]


async def test_an_event_missed_between_two_batches_costs_an_offer_and_loses_nothing() -> None:
    ledger = Ledger(b"1", b"2", b"4")
    kept = offers(ledger)
    for seq in (1, 2, 4, 5):  # 3 came with a heartbeat, so that no batch leads from 2 to 4
        kept.keep(placed(seq), b"%d" % seq)
    await kept._offer_all()
    assert ledger.offered == [b"5", b"4", b"2"]


async def test_a_batch_that_comes_while_others_are_offered_is_kept() -> None:
    kept = offers(Link())

    class Interrupted(Link):
        async def offer(
            self, message: recovery_offer.Offer, credentials: InstanceCredentials
        ) -> recovery_offer.OfferAnswer:
            kept.keep(placed(9, epoch=9), b"new")
            return await super().offer(message, credentials)

    link: Any = Interrupted()
    kept._link = link
    kept.keep(placed(1), b"1")
    await kept._offer_all()
    assert [each.payload for each in kept._batches] == [b"new"]
