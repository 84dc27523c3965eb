"""When a revocation is enforced: the rules of design 7, Theorem 1 and Theorem 2."""

from dataclasses import replace
from typing import Any

import pytest

from rescind.core import lease
from rescind.core.receipt import Outcome, VerifierInGrace
from rescind_authority.ports.leases import LeaseRow, WaitSnapshot
from rescind_authority.ports.ledger import CommittedEvent
from rescind_authority.usecases.enforcement.wait import EnforcementWait, is_lost

TERM_MS = 10_000
WAIT_NS = lease.wait_ns(TERM_MS)
SEEN_NS = 1_000 * 10**9
TARGET = CommittedEvent("rev_1", epoch=1, seq=7, at_us=5_000_000)
ONE, TWO = b"1" * 16, b"2" * 16


def row(instance: bytes, **changed: Any) -> LeaseRow:
    fresh = LeaseRow(instance, "search", "strict", version=3, epoch=1, acked_seq=6, released=False)
    return replace(fresh, **changed)


def seen(*rows: LeaseRow, epoch: int = 1) -> WaitSnapshot:
    by_instance = {each.instance: each for each in rows}
    return WaitSnapshot(
        epoch, 7, TERM_MS, 5_002_000, by_instance, last_event=(TARGET.epoch, TARGET.seq)
    )


def begin(
    *rows: LeaseRow,
    unchanged: dict[bytes, int] | None = None,
    rows_are_current: bool = True,
    unknown_until_ns: int | None = None,
) -> EnforcementWait:
    return EnforcementWait(
        TARGET,
        seen(*rows),
        seen_ns=SEEN_NS,
        unchanged_since_ns=unchanged or {},
        rows_are_current=rows_are_current,
        unknown_until_ns=unknown_until_ns,
    )


def outcomes(wait: EnforcementWait, now_ns: int) -> dict[bytes, Outcome]:
    return {each.instance: each.outcome for each in wait.receipt(now_ns).verifiers}


def test_an_event_without_verifiers_is_enforced_at_once() -> None:
    assert begin().is_over(SEEN_NS)


def test_an_instance_that_has_not_acknowledged_keeps_the_wait_open() -> None:
    wait = begin(row(ONE))
    assert not wait.is_over(SEEN_NS)
    assert not wait.is_over(SEEN_NS + WAIT_NS - 1)
    assert wait.pending == {ONE}


def test_every_instance_has_to_acknowledge() -> None:
    wait = begin(row(ONE), row(TWO))
    wait.acknowledge(ONE, received_ns=SEEN_NS + 1_000_000)
    assert not wait.is_over(SEEN_NS + 1_000_000)
    wait.acknowledge(TWO, received_ns=SEEN_NS + 3_000_000)
    assert wait.is_over(SEEN_NS + 3_000_000)
    latencies = {each.instance: each.latency_us for each in wait.receipt(SEEN_NS).verifiers}
    assert latencies == {ONE: 3_000, TWO: 5_000}  # since the event's own time


def test_the_full_wait_settles_an_event_whatever_the_rows_show() -> None:
    wait = begin(row(ONE))
    assert wait.is_over(SEEN_NS + WAIT_NS)
    assert outcomes(wait, SEEN_NS + WAIT_NS) == {ONE: Outcome.LAPSED}


def test_the_wait_is_longer_than_any_lease_by_the_slowest_clock_and_counts_from_its_own_read() -> (
    None
):
    assert begin(row(ONE)).ends_ns - SEEN_NS == WAIT_NS > TERM_MS * 10**6


def test_a_released_instance_is_not_waited_for() -> None:
    wait = begin(row(ONE, released=True))
    assert wait.is_over(SEEN_NS)
    assert outcomes(wait, SEEN_NS) == {ONE: Outcome.RELEASED}


def test_a_row_with_the_position_in_this_epoch_counts_as_an_acknowledgement() -> None:
    wait = begin(row(ONE, acked_seq=7))
    assert outcomes(wait, SEEN_NS) == {ONE: Outcome.ACKNOWLEDGED}


@pytest.mark.parametrize("epoch", [None, 2])
def test_a_row_of_another_epoch_does_not_count_as_an_acknowledgement(epoch: int | None) -> None:
    assert not begin(row(ONE, acked_seq=9, epoch=epoch)).is_over(SEEN_NS)


def test_a_heartbeat_or_a_release_after_the_snapshot_counts() -> None:
    wait = begin(row(ONE), row(TWO))
    later = {ONE: row(ONE, acked_seq=8, version=4), TWO: row(TWO, released=True, version=4)}
    wait.apply_rows(later, now_ns=SEEN_NS + 1)
    assert outcomes(wait, SEEN_NS + 1) == {ONE: Outcome.ACKNOWLEDGED, TWO: Outcome.RELEASED}


def test_an_instance_that_begins_after_the_snapshot_is_not_waited_for() -> None:
    wait = begin(row(ONE))
    wait.apply_rows({ONE: row(ONE, acked_seq=7), TWO: row(TWO)}, now_ns=SEEN_NS + 1)
    assert wait.is_over(SEEN_NS + 1)


def test_a_row_watched_unchanged_for_a_full_wait_has_lapsed() -> None:
    wait = begin(row(ONE), unchanged={ONE: SEEN_NS - WAIT_NS})
    assert wait.is_over(SEEN_NS)
    assert outcomes(wait, SEEN_NS) == {ONE: Outcome.LAPSED}


def test_a_row_watched_for_less_than_a_full_wait_has_not_lapsed() -> None:
    assert not begin(row(ONE), unchanged={ONE: SEEN_NS - WAIT_NS + 1}).is_over(SEEN_NS)


def test_if_the_rows_may_be_those_of_a_backup_only_the_full_wait_counts() -> None:
    wait = begin(row(ONE, released=True), unchanged={ONE: 0}, rows_are_current=False)
    wait.acknowledge(ONE, received_ns=SEEN_NS)
    wait.apply_rows({}, now_ns=SEEN_NS)
    assert not wait.is_over(SEEN_NS + WAIT_NS - 1)
    assert wait.is_over(SEEN_NS + WAIT_NS)


def test_after_a_restore_an_acknowledgement_of_the_new_epoch_is_named_but_ends_nothing() -> None:
    wait = begin(row(ONE), row(TWO), rows_are_current=False)
    wait.acknowledge(ONE, received_ns=SEEN_NS)
    wait.apply_rows({ONE: row(ONE), TWO: row(TWO, acked_seq=7)}, now_ns=SEEN_NS)
    assert not wait.is_over(SEEN_NS)
    assert outcomes(wait, SEEN_NS) == dict.fromkeys((ONE, TWO), Outcome.ACKNOWLEDGED)


def test_without_rows_after_a_restore_the_full_wait_counts_too() -> None:
    wait = begin(rows_are_current=False)
    assert not wait.is_over(SEEN_NS + WAIT_NS - 1)
    assert wait.is_over(SEEN_NS + WAIT_NS)


def test_progress_states_how_many_acknowledged_and_when_the_rest_lapses() -> None:
    wait = begin(row(ONE), row(TWO, released=True))
    progress = wait.progress(SEEN_NS + 10**9)
    assert (progress.acknowledged, progress.released, progress.of) == (0, 1, 2)
    assert progress.lapse_in_s == pytest.approx(WAIT_NS / 1e9 - 1)


def test_a_row_that_is_missing_later_settles_nothing() -> None:
    """It may have been swept, or never have come to the server that was asked."""
    wait = begin(row(ONE))
    wait.apply_rows({}, now_ns=SEEN_NS + 1)
    assert not wait.is_over(SEEN_NS + WAIT_NS - 1)
    assert wait.is_over(SEEN_NS + WAIT_NS)
    assert outcomes(wait, SEEN_NS + WAIT_NS) == {ONE: Outcome.LAPSED}


@pytest.mark.parametrize(
    "later",
    [
        {"last_event": None},
        {"last_event": (1, 6)},
        {"last_event": (2, 7)},
        {"seq": 6},
        {"epoch": 2},
    ],
    ids=["without the event", "another seq", "another epoch of it", "older", "another epoch"],
)
def test_a_later_snapshot_that_may_be_from_before_the_event_does_not_count(
    later: dict[str, Any],
) -> None:
    wait = begin(row(ONE))
    assert wait.may_settle(seen(row(ONE)))
    assert wait.may_settle(replace(seen(row(ONE)), seq=9))
    assert not wait.may_settle(replace(seen(row(ONE)), **later))


def test_only_a_later_epoch_proves_that_a_restore_lost_the_event() -> None:
    ignorant = replace(seen(), last_event=None)
    assert not is_lost(TARGET, ignorant)
    assert not is_lost(TARGET, replace(ignorant, seq=100))
    assert not is_lost(replace(TARGET, epoch=2), ignorant)
    assert is_lost(TARGET, replace(ignorant, epoch=2))
    assert not is_lost(TARGET, replace(seen(), epoch=2))


GRACE = "grace:session=60s"
GRACE_WAIT_NS = lease.grace_wait_ns(60 * 10**9)


def test_a_verifier_in_grace_that_acknowledges_counts_like_any_other() -> None:
    wait = begin(row(ONE, posture=GRACE))
    wait.acknowledge(ONE, received_ns=SEEN_NS)
    assert wait.is_over(SEEN_NS)
    assert wait.receipt(SEEN_NS).grace == ()


def test_a_silent_verifier_in_grace_is_waited_for_like_a_strict_one_and_then_named() -> None:
    wait = begin(row(ONE, posture=GRACE))
    assert not wait.is_over(SEEN_NS + WAIT_NS - 1)
    assert wait.is_over(SEEN_NS + WAIT_NS)
    receipt = wait.receipt(SEEN_NS + WAIT_NS)
    assert receipt.verifiers == ()
    until_us = 5_002_000 + (WAIT_NS + GRACE_WAIT_NS) // 1000
    assert receipt.grace == (VerifierInGrace(ONE, "search", until_us),)


def test_a_verifier_in_grace_that_was_silent_for_a_full_wait_is_named_at_once() -> None:
    wait = begin(row(ONE, posture=GRACE), unchanged={ONE: SEEN_NS - WAIT_NS})
    assert wait.is_over(SEEN_NS)
    [lenient] = wait.receipt(SEEN_NS).grace
    assert lenient.until_us == 5_002_000 + GRACE_WAIT_NS // 1000


def test_a_verifier_that_was_silent_for_the_wait_and_its_grace_has_lapsed() -> None:
    since_ns = SEEN_NS - WAIT_NS - GRACE_WAIT_NS
    wait = begin(row(ONE, posture=GRACE), unchanged={ONE: since_ns})
    assert wait.is_over(SEEN_NS)
    assert outcomes(wait, SEEN_NS) == {ONE: Outcome.LAPSED}
    sooner = begin(row(ONE, posture=GRACE), unchanged={ONE: since_ns + 1})
    assert len(sooner.receipt(SEEN_NS).grace) == 1


def test_a_verifier_with_an_unknown_posture_is_never_reported_as_lapsed() -> None:
    wait = begin(row(ONE, posture="patient"), unchanged={ONE: SEEN_NS - 2 * WAIT_NS})
    assert wait.is_over(SEEN_NS)
    assert len(wait.receipt(SEEN_NS).grace) == 1


def test_after_a_restore_the_full_wait_does_not_end_a_grace() -> None:
    wait = begin(row(ONE, posture=GRACE), rows_are_current=False)
    assert wait.is_over(SEEN_NS + WAIT_NS)
    assert [each.instance for each in wait.receipt(SEEN_NS + WAIT_NS).grace] == [ONE]


@pytest.mark.parametrize("rows", [{}, {ONE: row(ONE, released=True, version=4)}])
def test_if_the_rows_may_be_those_of_a_backup_a_vanished_or_released_one_is_waited_for(
    rows: dict[bytes, LeaseRow],
) -> None:
    wait = begin(row(ONE), rows_are_current=False)
    wait.apply_rows(rows, now_ns=SEEN_NS + 1)
    assert wait.pending == {ONE}
    assert wait.progress(SEEN_NS + 1).of == 1
    assert outcomes(wait, SEEN_NS + 1) == {}


@pytest.mark.parametrize("rows", [{}, {ONE: row(ONE, posture=GRACE, released=True, version=4)}])
def test_if_the_rows_may_be_those_of_a_backup_a_vanished_or_released_one_keeps_its_grace(
    rows: dict[bytes, LeaseRow],
) -> None:
    """The receipt names it: a row of the backup says nothing about who answers now."""
    wait = begin(row(ONE, posture=GRACE), rows_are_current=False)
    wait.apply_rows(rows, now_ns=SEEN_NS + 1)
    assert wait.is_over(SEEN_NS + WAIT_NS)
    assert [each.instance for each in wait.receipt(SEEN_NS + WAIT_NS).grace] == [ONE]


def test_a_row_that_vanished_keeps_its_grace() -> None:
    """The receipt names it: a look at the rows of an old primary may lack it (a failover)."""
    wait = begin(row(ONE, posture=GRACE))
    wait.apply_rows({}, now_ns=SEEN_NS + 1)
    assert not wait.is_over(SEEN_NS + WAIT_NS - 1)
    assert wait.is_over(SEEN_NS + WAIT_NS)
    assert [each.instance for each in wait.receipt(SEEN_NS + WAIT_NS).grace] == [ONE]


def test_a_receipt_states_until_when_a_verifier_without_a_row_may_be_in_grace() -> None:
    until_ns = SEEN_NS + 3 * WAIT_NS
    wait = begin(rows_are_current=False, unknown_until_ns=until_ns)
    assert wait.is_over(SEEN_NS + WAIT_NS)
    until_us = 5_002_000 + 3 * WAIT_NS // 1_000
    assert wait.receipt(SEEN_NS + WAIT_NS).unknown_grace_until_us == until_us
    assert wait.receipt(until_ns - 1).unknown_grace_until_us == until_us
    assert wait.receipt(until_ns).unknown_grace_until_us is None


def test_a_receipt_of_a_ledger_that_knows_every_verifier_mentions_no_unknown_one() -> None:
    assert begin(row(ONE, posture=GRACE)).receipt(SEEN_NS).unknown_grace_until_us is None


def test_the_pending_instances_are_a_view_so_that_each_acknowledgement_costs_the_same() -> None:
    wait = begin(row(ONE), row(TWO))
    pending = wait.pending
    wait.acknowledge(ONE, received_ns=SEEN_NS)
    assert pending == {TWO}
    assert pending & {ONE, TWO} == {TWO}


def test_a_hundred_thousand_instances_that_are_gone_need_no_wait_and_are_all_in_the_receipt() -> (
    None
):
    rows = [row(number.to_bytes(16), released=True) for number in range(100_000)]
    wait = begin(*rows)
    assert wait.is_over(SEEN_NS)
    assert wait.progress(SEEN_NS).released == len(wait.receipt(SEEN_NS).verifiers) == 100_000


def test_an_acknowledgement_from_before_the_request_keeps_its_time() -> None:
    moment_ns = SEEN_NS - 20 * 10**9
    late = replace(TARGET, at_us=5_002_000 - 21_000_000)
    wait = EnforcementWait(
        late,
        seen(row(ONE, acked_seq=7)),
        seen_ns=SEEN_NS,
        unchanged_since_ns={},
        rows_are_current=True,
        acknowledged_ns={ONE: moment_ns},
        complete=True,
    )
    assert wait.is_over(SEEN_NS)
    receipt = wait.receipt(SEEN_NS + 5)
    assert [each.latency_us for each in receipt.verifiers] == [1_000_000]
    assert receipt.enforced_at_us == late.at_us + 1_000_000


@pytest.mark.parametrize("doubt", ["swept", "backup", "pending", "unknown grace"])
def test_if_a_verifier_may_be_missing_the_time_of_enforcement_is_that_of_the_request(
    doubt: str,
) -> None:
    rows = [row(ONE, acked_seq=7)] + [row(TWO)] * (doubt == "pending")
    wait = EnforcementWait(
        replace(TARGET, at_us=1_000_000),
        seen(*rows),
        seen_ns=SEEN_NS,
        unchanged_since_ns={},
        rows_are_current=doubt != "backup",
        acknowledged_ns={ONE: SEEN_NS - 10**9},
        complete=doubt != "swept",
        unknown_until_ns=SEEN_NS + 100 * WAIT_NS if doubt == "unknown grace" else None,
    )
    now_ns = SEEN_NS + WAIT_NS
    assert wait.is_over(now_ns)
    assert wait.receipt(now_ns).enforced_at_us == 5_002_000 + WAIT_NS // 1_000


def test_a_verifier_that_ended_before_the_event_is_left_out_and_one_after_it_is_named() -> None:
    before = row(ONE, released=True, released_us=TARGET.at_us)
    after = row(TWO, released=True, released_us=TARGET.at_us + 500)
    silent = row(b"3" * 16)
    wait = begin(before, after, silent, unchanged={silent.instance: SEEN_NS - 2 * WAIT_NS})
    assert wait.is_over(SEEN_NS)
    receipt = wait.receipt(SEEN_NS)
    named = [(each.instance, each.outcome, each.latency_us) for each in receipt.verifiers]
    assert named == [(TWO, Outcome.RELEASED, 500)]
    assert wait.progress(SEEN_NS).of == 1


def test_after_a_restore_no_verifier_is_left_out_because_of_the_backup() -> None:
    before = row(ONE, released=True, released_us=1)
    wait = begin(before, unchanged={ONE: 0}, rows_are_current=False)
    assert wait.is_over(SEEN_NS + WAIT_NS)
    assert outcomes(wait, SEEN_NS + WAIT_NS) == {ONE: Outcome.LAPSED}


def test_progress_names_the_instances_that_are_waited_for() -> None:
    wait = begin(row(ONE, service="search"), row(TWO, service="mail"), row(b"3" * 16, acked_seq=7))
    named = [(each.service, each.instance) for each in wait.progress(SEEN_NS).missing]
    assert named == [("mail", TWO), ("search", ONE)]
