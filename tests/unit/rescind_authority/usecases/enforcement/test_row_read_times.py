"""When an acknowledgement was first seen: for receipts that are asked for later."""

from rescind_authority.ports.leases import LeaseRow, WaitSnapshot
from rescind_authority.usecases.enforcement.row_read_times import RowReadTimes

ONE = b"1" * 16
HOUR_NS = 3_600 * 10**9


def waiting(seq: int, acked: int | None, *, server: int = 1, epoch: int = 1) -> WaitSnapshot:
    row = LeaseRow(
        ONE, "search", "strict", version=1, epoch=1, acked_seq=acked or 0, released=False
    )
    rows = {} if acked is None else {ONE: row}
    return WaitSnapshot(epoch, seq, 10_000, 0, rows, server=server)


def moment(moments: RowReadTimes, seq: int, acked: int) -> int | None:
    return moments.acknowledged(waiting(acked, acked).rows, epoch=1, seq=seq).get(ONE)


def test_an_acknowledgement_has_the_time_of_the_first_read_that_showed_it() -> None:
    moments = RowReadTimes()
    for at_ns, acked in ((10, 5), (20, 7), (30, 7), (40, 9)):
        moments.record(waiting(9, acked), at_ns)
    assert [moment(moments, seq, 9) for seq in (5, 6, 7, 8, 9)] == [10, 20, 20, 40, 40]


def test_an_instance_that_has_not_acknowledged_has_no_time() -> None:
    moments = RowReadTimes()
    moments.record(waiting(9, 5), 10)
    assert moments.acknowledged(waiting(9, 5).rows, epoch=1, seq=6) == {}
    assert moments.acknowledged(waiting(9, 9).rows, epoch=2, seq=6) == {}


def test_reads_from_another_server_are_forgotten() -> None:
    moments = RowReadTimes()
    moments.record(waiting(9, 9), 10)
    moments.record(waiting(9, 9, server=2), 20)
    assert moment(moments, 9, 9) == 20
    assert not moments.complete(epoch=1, seq=9, now_ns=30)


def test_the_oldest_of_many_times_are_dropped_and_the_answer_is_never_too_early() -> None:
    moments = RowReadTimes()
    for number in range(1, 1_000):
        moments.record(waiting(number, number), number)
    found = [moment(moments, seq, 999) for seq in range(1, 1_000)]
    assert all(at_ns is not None and at_ns >= seq for seq, at_ns in enumerate(found, 1))
    assert found[-1] == 999


def test_an_instance_whose_row_is_gone_is_forgotten() -> None:
    moments = RowReadTimes()
    moments.record(waiting(9, 9), 10)
    moments.record(waiting(9, None), 20)
    assert moment(moments, 9, 9) is None


def test_rows_are_complete_if_the_ledger_was_read_before_the_event_and_no_hour_has_passed() -> None:
    moments = RowReadTimes()
    assert not moments.complete(epoch=1, seq=5, now_ns=0)
    moments.record(waiting(4, 4), 10)
    moments.record(waiting(6, 4), 20)
    assert moments.complete(epoch=1, seq=5, now_ns=30)
    assert not moments.complete(epoch=1, seq=4, now_ns=30), "it was there before the first read"
    assert not moments.complete(epoch=2, seq=7, now_ns=30)
    assert not moments.complete(epoch=1, seq=5, now_ns=HOUR_NS)
