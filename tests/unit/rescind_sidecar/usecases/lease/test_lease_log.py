"""An operator hears of a lease when it comes, when it goes and when it is back: once each."""

from structlog.testing import capture_logs

from rescind_sidecar.stats.histogram import BOUNDS_S, Histogram
from rescind_sidecar.usecases.lease.lease_log import LeaseLog

S = 1_000_000_000


def test_each_change_of_the_lease_is_one_line() -> None:
    log = LeaseLog()
    with capture_logs() as lines:
        for leased, now_s in (
            (False, 0),
            (True, 1),
            (True, 2),
            (False, 9),
            (False, 10),
            (True, 15),
        ):
            log.observe(leased=leased, now_ns=now_s * S, ends_ns=8 * S, applied=7)
    assert [(line["action"], line["log_level"]) for line in lines] == [
        ("lease.first", "info"),
        ("lease.lost", "error"),
        ("lease.back", "info"),
    ]
    assert lines[-1]["after_s"] == 7.0


def test_a_lease_that_never_comes_is_logged_once() -> None:
    log = LeaseLog()
    with capture_logs() as lines:
        for now_s in range(10):
            log.observe(leased=False, now_ns=now_s * S, ends_ns=0, applied=None)
    assert [line["action"] for line in lines] == ["lease.awaited"]


def test_a_distribution_counts_each_duration_once_at_its_bound() -> None:
    seen = Histogram()
    for seconds in (0.0005, 0.001, 0.0011, 99.0):
        seen.observe(seconds)
    cumulative = dict(seen.cumulative())
    assert [cumulative["0.001"], cumulative["0.0025"], cumulative["+Inf"]] == [2, 3, 4]
    assert list(cumulative) == [*map(str, BOUNDS_S), "+Inf"]
