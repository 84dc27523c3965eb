"""A flood of causes is a few lines."""

from rescind_runtime.log_throttle import LogThrottle

S = 1_000_000_000


def test_the_first_line_is_logged_at_once_and_the_flood_after_it_is_counted() -> None:
    seldom = LogThrottle(period_s=10)
    assert seldom.due(0) == 0
    assert [seldom.due(now) for now in range(S, 10 * S, S)] == [None] * 9
    assert seldom.due(10 * S) == 9
    assert seldom.due(11 * S) is None
    assert seldom.due(30 * S) == 1
    assert seldom.due(60 * S) == 0
