"""A row that no authority wrote is counted each time, and told of once a minute."""

from structlog.testing import capture_logs
from tests.support.clocks import ManualClock

from rescind_authority.ports.audit import RefusedCall
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.usecases.integrity.refused_rows import MOST, RefusedRows


def test_each_refused_row_is_logged_once_a_minute_and_always_counted() -> None:
    clock, metrics, audited = ManualClock(), PrometheusMetrics(), list[RefusedCall]()
    rows = RefusedRows(audited.append, clock=clock, metrics=metrics)
    with capture_logs() as lines:
        for _ in range(3):
            rows.report("tok_1", "it has no MAC")
        rows.report("tok_2", "it has no MAC")
        clock.move(60)
        rows.report("tok_1", "it has no MAC")
    told = [(line["action"], line["id"], line["withheld"]) for line in lines]
    assert told == [
        ("row.refused", "tok_1", 0),
        ("row.refused", "tok_2", 0),
        ("row.refused", "tok_1", 2),
    ]
    assert [(each.call, each.why) for each in audited] == [
        ("row", "tok_1: it has no MAC"),
        ("row", "tok_2: it has no MAC"),
        ("row", "tok_1: it has no MAC"),
    ]
    assert b"rescind_authority_rows_refused_total 5.0" in metrics.render()


def test_a_flood_of_rows_takes_no_memory_without_bound() -> None:
    rows = RefusedRows(lambda _: None, clock=ManualClock(), metrics=PrometheusMetrics())
    with capture_logs() as lines:
        for number in range(MOST + 10):
            rows.report(f"tok_{number}", "it has no MAC")
        rows.report("tok_0", "it has no MAC")  # forgotten, so told of anew
    assert len(lines) == MOST + 11
