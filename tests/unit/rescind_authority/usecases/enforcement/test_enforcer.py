"""Waits over a Postgres in memory that is set back, or replaced while it goes on answering."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from tests.simulation.trust import Keys
from tests.support import virtual_time
from tests.support.clocks import LoopClock
from tests.support.ledger_entries import append
from tests.support.postgres_in_memory import Cluster, PostgresInMemory, Row, begun

from rescind.core import lease
from rescind.core.handles import Handle, Selector
from rescind.core.ledger import Position
from rescind.core.receipt import Outcome, Receipt
from rescind.core.revocation import Revocation
from rescind.errors import TooLargeError
from rescind.wire import receipt_details, receipts, signed_envelope
from rescind.wire.heartbeat import Ack, AckRequest
from rescind_authority.errors import AlteredReceiptError, LostError
from rescind_authority.ports.ledger import CommittedEvent, LedgerEntry
from rescind_authority.usecases.enforcement.acknowledgements import Acknowledgements
from rescind_authority.usecases.enforcement.enforcer import Enforcer
from rescind_authority.usecases.enforcement.wait import EnforcementProgress

TERM_MS = 1_000


class Nobody:
    def call(self, wanted: AckRequest) -> None:
        pass


@dataclass
class World:
    cluster: Cluster
    postgres: PostgresInMemory
    enforcer: Enforcer

    async def revoke(self, name: str) -> CommittedEvent:
        """Commit a revocation, as the sequencer would."""
        async with self.postgres.begin() as transaction:
            revocation = Revocation(name, Selector((Handle("tenant:a"),)), "revoke", "", "ada")
            (entry,) = await append(transaction, [revocation])
        event = entry.event
        return CommittedEvent(name, event.epoch, event.seq, event.at_us)


@asynccontextmanager
async def world() -> AsyncGenerator[World]:
    """Have one sidecar in the rows, which never says a word."""
    clock = LoopClock()
    cluster = Cluster(begun(term_ms=TERM_MS, at_us=0), now_us=clock.wall_us)
    cluster.tables.leases[bytes(16)] = Row("search", "strict", 1, 1)
    async with authority(cluster) as here:
        yield here


@asynccontextmanager
async def authority(cluster: Cluster) -> AsyncGenerator[World]:
    """Run a new process over these tables: it remembers nothing of one before."""

    async def at_once() -> None:
        await asyncio.sleep(0)

    clock = LoopClock()
    postgres = PostgresInMemory(cluster, at_once)
    enforcer = Enforcer(
        postgres,
        acknowledgements=Acknowledgements(clock),
        keys=Keys(),
        caller=Nobody(),
        clock=clock,
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(enforcer.run())
        yield World(cluster, postgres, enforcer)
        running.cancel()


def test_a_finished_wait_returns_the_receipt() -> None:
    async def story() -> bytes | EnforcementProgress:
        async with world() as here:
            return await here.enforcer.receipt(await here.revoke("rev_1"), timeout_s=5)

    assert isinstance(virtual_time.run(story()), bytes)


@pytest.mark.parametrize("goes_on", [False, True], ids=["shorter", "as long again"])
def test_an_event_that_a_restore_lost_during_a_wait_gets_no_receipt(goes_on: bool) -> None:
    """Whether the restored ledger has reached the same seq by then, with another event, or not."""

    async def story() -> None:
        async with world() as here:
            backup = here.cluster.tables.copy()
            target = await here.revoke("rev_lost")
            async with asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(_refused(here.enforcer, target))
                await asyncio.sleep(0.5)
                here.cluster.restore(backup)
                if goes_on:
                    await here.revoke("rev_other")
            assert waiting.result()
            assert await _refused(here.enforcer, target)
            assert "rev_lost" not in here.cluster.tables.receipts

    virtual_time.run(story())


def test_no_receipt_is_signed_if_a_restore_removed_the_event_after_the_first_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ledger was restored right after the first read."""

    async def story() -> None:
        async with world() as here:
            backup = here.cluster.tables.copy()
            target = await here.revoke("rev_moved")
            read = here.postgres.entries_of

            async def too_late(revocation_id: str) -> tuple[LedgerEntry, ...]:
                here.cluster.restore(backup)
                return await read(revocation_id)

            monkeypatch.setattr(here.postgres, "entries_of", too_late)
            assert await _refused(here.enforcer, target)
            assert "rev_moved" not in here.cluster.tables.receipts

    virtual_time.run(story())


async def _refused(enforcer: Enforcer, target: CommittedEvent) -> bool:
    try:
        await enforcer.receipt(target, timeout_s=5)
    except LostError:
        return True
    return False


HOUR_S = 3_600
WAIT_S = lease.wait_ns(TERM_MS) / 1e9


def signed(envelope: object) -> Receipt:
    assert isinstance(envelope, bytes)
    return receipts.decode(signed_envelope.decode(envelope).content)


async def receipt_of(here: World, name: str) -> Receipt:
    target = await here.revoke(name)
    return signed(await here.enforcer.receipt(target, timeout_s=5))


async def unknown_until_s(here: World, name: str) -> float | None:
    """Revoke, and return what the receipt says of verifiers that the ledger does not know."""
    until_us = (await receipt_of(here, name)).unknown_grace_until_us
    return None if until_us is None else until_us / 1e6


def now_s() -> float:
    return asyncio.get_running_loop().time()


def restore(cluster: Cluster, *, longest_grace_ms: int = HOUR_S * 1000) -> None:
    cluster.restore(cluster.tables.copy(), longest_grace_ms=longest_grace_ms)


def test_the_first_epoch_knows_every_verifier() -> None:
    async def story() -> None:
        async with world() as here:
            assert await unknown_until_s(here, "rev_1") is None

    virtual_time.run(story())


def test_a_new_epoch_allows_for_an_unknown_verifier_for_a_wait_and_1_2_longest_graces() -> None:
    """Although the only verifier that it knows is strict: the others may have begun since."""

    async def story() -> None:
        async with world() as here:
            restore(here.cluster)
            began_s = now_s()
            until_s = await unknown_until_s(here, "rev_1")
            assert until_s is not None
            assert until_s == pytest.approx(began_s + WAIT_S + 1.2 * HOUR_S, abs=2)
            await asyncio.sleep(until_s - now_s() - 5)
            assert await unknown_until_s(here, "rev_2") == pytest.approx(until_s, abs=0.01)
            await asyncio.sleep(until_s - now_s() + 1)
            assert await unknown_until_s(here, "rev_3") is None

    virtual_time.run(story())


@pytest.mark.parametrize(
    ("said_s", "known", "longest_s"),
    [(60, "strict", 60), (60, "grace:session=5m", 300), (0, "grace:session=5m", 300)],
)
def test_the_longest_grace_is_that_of_the_operator_or_a_longer_one_in_a_row(
    said_s: int, known: str, longest_s: int
) -> None:
    async def story() -> None:
        async with world() as here:
            here.cluster.tables.leases[b"k" * 16] = Row("search", known, 1, 1)
            restore(here.cluster, longest_grace_ms=said_s * 1000)
            began_s = now_s()
            until_s = await unknown_until_s(here, "rev_1")
            assert until_s == pytest.approx(began_s + WAIT_S + 1.2 * longest_s, abs=2)

    virtual_time.run(story())


def test_if_every_verifier_is_strict_a_receipt_of_a_new_epoch_mentions_no_unknown_one() -> None:
    async def story() -> None:
        async with world() as here:
            restore(here.cluster, longest_grace_ms=0)
            assert await unknown_until_s(here, "rev_1") is None

    virtual_time.run(story())


def test_an_authority_that_starts_later_counts_from_its_own_first_read() -> None:
    async def story() -> None:
        async with world() as here:
            restore(here.cluster)
        await asyncio.sleep(HOUR_S)
        async with authority(here.cluster) as restarted:
            began_s = now_s()
            until_s = await unknown_until_s(restarted, "rev_1")
            assert until_s == pytest.approx(began_s + WAIT_S + 1.2 * HOUR_S, abs=2)

    virtual_time.run(story())


def test_a_restart_does_not_repeat_a_wait_for_unknown_verifiers_that_has_finished() -> None:
    async def story() -> None:
        async with world() as here:
            restore(here.cluster)
            await asyncio.sleep(WAIT_S + 1.2 * HOUR_S + 5)
        async with authority(here.cluster) as restarted:
            assert await unknown_until_s(restarted, "rev_1") is None
            restore(here.cluster)
            assert await unknown_until_s(restarted, "rev_2") is not None

    virtual_time.run(story())


def test_a_verifier_that_the_last_epoch_may_not_know_may_be_unknown_to_the_next_one_too() -> None:
    async def story() -> None:
        async with world() as here:
            restore(here.cluster)
            await here.revoke("rev_1")
            restore(here.cluster, longest_grace_ms=0)
            assert await unknown_until_s(here, "rev_2") is not None

    virtual_time.run(story())


def test_a_wall_clock_that_is_set_forward_ends_no_grace() -> None:
    async def story() -> None:
        async with world() as here:
            restore(here.cluster)
            await asyncio.sleep(5)
            set_by_us = 24 * HOUR_S * 10**6
            here.cluster.now_us = lambda: LoopClock().wall_us() + set_by_us
            assert await unknown_until_s(here, "rev_1") is not None
        async with authority(here.cluster) as restarted:
            assert await unknown_until_s(restarted, "rev_2") is not None

    virtual_time.run(story())


def test_a_term_that_is_shortened_meanwhile_shortens_no_grace() -> None:
    async def story() -> None:
        async with world() as here:
            restore(here.cluster, longest_grace_ms=1_000)
            tables = here.cluster.tables
            tables.grant_term_ms = tables.wait_term_ms = 60_000
            began_s = now_s()
            await asyncio.sleep(2)
            tables.grant_term_ms = tables.wait_term_ms = 1_000
            longest_s = lease.wait_ns(60_000) / 1e9 + 1.2
            until_s = await unknown_until_s(here, "rev_1")
            assert until_s == pytest.approx(began_s + longest_s, abs=2)

    virtual_time.run(story())


def test_a_receipt_for_an_event_of_the_epoch_before_allows_for_an_unknown_verifier_too() -> None:
    """It was committed before the backup, and is waited for after the restore."""

    async def story() -> None:
        async with world() as here:
            target = await here.revoke("rev_1")
            restore(here.cluster)
            receipt = signed(await here.enforcer.receipt(target, timeout_s=5))
            assert receipt.epoch == 1
            assert receipt.unknown_grace_until_us is not None

    virtual_time.run(story())


def gone(many: int) -> dict[bytes, Row]:
    return {
        (number | 1 << 64).to_bytes(16): Row("search", "strict", 1, 1, released=True)
        for number in range(many)
    }


def test_a_receipt_of_very_many_verifiers_is_a_summary_whose_pages_any_authority_shows() -> None:
    async def story() -> None:
        async with world() as here:
            here.cluster.tables.leases.update(gone(100_000))
            envelope = await here.enforcer.receipt(await here.revoke("rev_1"), timeout_s=5)
            stated = signed(envelope)
            assert stated.summary is not None
            assert (stated.summary.released, stated.summary.lapsed) == (100_000, 1)
            assert stated.verifiers[0].outcome is Outcome.LAPSED  # of all of them, it is named
            async with authority(here.cluster) as other:
                assert await other.enforcer.receipts.get("rev_1") == envelope
                page = await other.enforcer.receipts.page(stated, cursor=99_500, limit=1_000)
                assert (len(page.verifiers), page.cursor) == (501, None)

    virtual_time.run(story())


def test_a_summary_states_until_when_a_verifier_without_a_row_may_be_in_grace() -> None:
    async def story() -> None:
        async with world() as here:
            here.cluster.tables.leases.update(gone(2_000))
            restore(here.cluster)
            began_s = now_s()
            stated = await receipt_of(here, "rev_1")
            assert stated.summary is not None
            assert stated.summary.grace == 0
            assert stated.unknown_grace_until_us is not None
            until_s = stated.unknown_grace_until_us / 1e6
            assert until_s == pytest.approx(began_s + WAIT_S + 1.2 * HOUR_S, abs=2)
            page = await here.enforcer.receipts.page(stated, cursor=1_500, limit=1_000)
            assert (len(page.verifiers), page.cursor) == (501, None)

    virtual_time.run(story())


def test_details_that_were_changed_in_the_table_are_not_shown() -> None:
    async def story() -> None:
        async with world() as here:
            here.cluster.tables.leases.update(gone(2_000))
            stated = signed(await here.enforcer.receipt(await here.revoke("rev_1"), timeout_s=5))
            one, two, three = here.cluster.tables.details["rev_1"]
            for chunks in ((two, one, three), (one,), ()):
                here.cluster.tables.details["rev_1"] = chunks
                with pytest.raises(AlteredReceiptError, match="rev_1"):
                    await here.enforcer.receipts.page(stated, cursor=1_000, limit=1_000)

    virtual_time.run(story())


def test_a_receipt_that_is_too_large_is_not_signed_and_stops_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        async with world() as here:
            here.cluster.tables.leases.update(gone(2_000))
            with monkeypatch.context() as small:
                small.setattr(receipt_details, "MAX_CHUNKS", 1)
                small.setattr(Keys, "sign", None)
                target = await here.revoke("rev_1")
                with pytest.raises(TooLargeError, match="2,001 verifiers"):
                    await here.enforcer.receipt(target, timeout_s=5)
            assert "rev_1" not in here.cluster.tables.receipts
            assert signed(await here.enforcer.receipt(target, timeout_s=5)).summary is not None

    virtual_time.run(story())


def test_a_receipt_that_is_requested_later_has_the_times_of_the_acknowledgements() -> None:
    async def story() -> None:
        async with world() as here:
            await asyncio.sleep(3)
            target = await here.revoke("rev_1")
            await asyncio.sleep(1.5)
            # The next heartbeat of the only sidecar says that it knows.
            here.cluster.tables.leases[bytes(16)] = Row(
                "search", "strict", 2, 2, epoch=target.epoch, acked_seq=target.seq
            )
            await asyncio.sleep(20)
            receipt = signed(await here.enforcer.receipt(target, timeout_s=5))
            (verified,) = receipt.verifiers
            assert verified.outcome is Outcome.ACKNOWLEDGED
            assert 1_500_000 <= verified.latency_us <= 2_600_000
            assert receipt.enforced_at_us == receipt.committed_at_us + verified.latency_us

    virtual_time.run(story())


def test_an_authority_that_started_after_the_event_uses_the_time_of_the_request() -> None:
    async def story() -> None:
        async with world() as here:
            target = await here.revoke("rev_1")
            here.cluster.tables.leases[bytes(16)] = Row(
                "search", "strict", 2, 2, epoch=target.epoch, acked_seq=target.seq
            )
            await asyncio.sleep(20)
            async with authority(here.cluster) as other:
                receipt = signed(await other.enforcer.receipt(target, timeout_s=5))
            assert receipt.enforced_at_us - receipt.committed_at_us >= 20_000_000

    virtual_time.run(story())


def test_a_stream_of_acknowledgements_does_not_delay_reading_the_rows() -> None:
    """An innocent's acknowledgement is lost; its heartbeat says the same, beside one who floods."""
    flooding, innocent = bytes([1]) * 16, bytes([2]) * 16

    async def story() -> Receipt:
        async with world() as here:
            leases = here.cluster.tables.leases
            del leases[bytes(16)]
            leases[flooding] = Row("search", "strict", 1, 1)
            leases[innocent] = Row("search", "strict", 1, 1)
            target = await here.revoke("rev_1")
            async with asyncio.TaskGroup() as tasks:
                flood = tasks.create_task(acknowledge_for_ever(here, flooding))
                waiting = tasks.create_task(here.enforcer.receipt(target, timeout_s=60))
                await asyncio.sleep(0.05)
                leases[innocent] = Row("search", "strict", 2, 2, epoch=1, acked_seq=target.seq)
                envelope = await waiting
                flood.cancel()
            assert isinstance(envelope, bytes)
            return receipts.decode(signed_envelope.decode(envelope).content)

    outcomes = {each.instance: each for each in virtual_time.run(story()).verifiers}
    assert outcomes[innocent].outcome is Outcome.ACKNOWLEDGED
    assert outcomes[innocent].latency_us < 500_000  # and not when the wait ends
    assert outcomes[flooding].outcome is Outcome.LAPSED


async def acknowledge_for_ever(here: World, instance: bytes) -> None:
    """Acknowledge one seq after the other that the ledger does not have."""
    seq = 1 << 40
    while True:
        seq += 1
        position = Position(1, seq, bytes(32))
        here.enforcer._acknowledgements.record(Ack(instance, seq, position))
        await asyncio.sleep(0.01)
