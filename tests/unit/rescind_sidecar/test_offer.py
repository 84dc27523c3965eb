"""Which signed batches a sidecar keeps, and when it offers them."""

from typing import Any

import pytest

from rescind.errors import UnreachableError
from rescind.wire import offer
from rescind.wire.events import Batch
from rescind_sidecar.ports import Voice
from rescind_sidecar.usecases import offer as module
from rescind_sidecar.usecases.offer import Offers

VOICE = Voice(b"i" * 16, b"s" * 32)


class Current:
    epoch = 9
    voice = VOICE

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

    async def offer(self, message: offer.Offer, voice: Voice) -> offer.Taken:
        assert voice == VOICE
        if self._failures:
            self._failures -= 1
            raise UnreachableError("not now")
        self.offered.append(message.batch)
        return offer.Taken(wanted=len(self.offered) < self._enough_after)


def batch(epoch: int) -> Batch:
    return Batch(epoch, 1, bytes(32), bytes(32), awaited=False, payloads=())


def offers(link: Link, *, most_bytes: int = 1_000) -> Offers:
    anything: Any = Incarnations()
    somebody: Any = link
    return Offers(anything, somebody, most_bytes=most_bytes)


async def test_what_is_of_an_earlier_epoch_is_offered_newest_first_and_once():
    link = Link()
    kept = offers(link)
    kept.keep(batch(1), b"one")
    kept.keep(batch(1), b"two")
    kept.keep(batch(9), b"of this epoch")
    await kept._offer_all()
    await kept._offer_all()
    assert link.offered == [b"two", b"one"]


async def test_what_nobody_answers_is_kept_and_offered_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_RETRY_S", 0)
    link = Link(failures=module._MOST_ATTEMPTS)
    kept = offers(link)
    kept.keep(batch(1), b"one")
    kept.keep(batch(1), b"two")
    await kept._offer_all()
    assert link.offered == [b"one"]  # the newest was tried in vain, and stays
    await kept._offer_all()
    assert link.offered == [b"one", b"two"]
    assert not kept._kept


async def test_it_stops_when_the_ledger_knows_the_rest():
    link = Link(enough_after=1)
    kept = offers(link)
    for payload in (b"one", b"two", b"three"):
        kept.keep(batch(1), payload)
    await kept._offer_all()
    assert link.offered == [b"three"]


async def test_what_another_instance_followed_is_offered_although_the_ledger_knows_the_newest():
    # The ledger was set back, and went on without a new epoch: two histories, one of them lost.
    link = Link(enough_after=1)
    kept = offers(link)
    kept.keep(batch(1), b"lost")
    now: Any = kept._incarnations
    now.current = Current(b"2")
    kept.keep(batch(1), b"of the new history")
    await kept._offer_all()
    assert link.offered == [b"of the new history", b"lost"]


def test_the_oldest_make_room():
    kept = offers(Link(), most_bytes=10)
    for payload in (b"12345", b"67890", b"abcde"):
        kept.keep(batch(1), payload)
    assert [each.payload for each in kept._kept] == [b"67890", b"abcde"]


def test_only_a_later_epoch_makes_them_due():
    kept = offers(Link())
    kept.met(9)
    kept.keep(batch(1), b"one")
    kept.met(1)
    assert not kept._due.is_set()
    kept.met(9)
    assert kept._due.is_set()
