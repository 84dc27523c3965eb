"""How long a lease lasts, and how long the authority waits: the inequality under Theorem 1."""

from hypothesis import given
from hypothesis import strategies as st

from rescind.core import lease, ledger

NS_PER_S = 1_000_000_000
terms_ms = st.integers(min_value=1, max_value=lease.MAX_TERM_MS)


def test_a_lease_lasts_nine_tenths_of_the_term_from_before_the_heartbeat_left() -> None:
    granted = lease.grant(ledger.genesis(1), sent_ns=5 * NS_PER_S, grant_term_ms=10_000)
    assert granted.ends_ns == 14 * NS_PER_S
    assert granted.position == ledger.genesis(1)


def test_the_wait_is_the_term_and_two_per_cent_and_fifty_milliseconds() -> None:
    assert lease.wait_ns(10_000) == 10_250_000_000
    assert lease.wait_ns(0) == 50_000_000


@given(terms_ms, st.integers(min_value=0, max_value=2**62))
def test_a_lease_ends_before_the_wait_does_on_the_slowest_clock_allowed(
    term_ms: int, sent_ns: int
) -> None:
    lasts_ns = (
        lease.grant(ledger.genesis(1), sent_ns=sent_ns, grant_term_ms=term_ms).ends_ns - sent_ns
    )
    # A sidecar's second lasts up to 1/0.9 true seconds; one of the authority at least 1/1.01.
    truly_lasts_ns = lasts_ns * 10 / 9
    truly_waits_ns = lease.wait_ns(term_ms) * 100 / 101
    assert truly_lasts_ns < truly_waits_ns


@given(terms_ms)
def test_durations_are_whole_numbers_rounded_to_the_safe_side(term_ms: int) -> None:
    lasts_ns = lease.grant(ledger.genesis(1), sent_ns=0, grant_term_ms=term_ms).ends_ns
    assert isinstance(lasts_ns, int)
    assert lasts_ns * 10 <= term_ms * 1_000_000 * 9
    assert (lease.wait_ns(term_ms) - 50_000_000) * 100 >= term_ms * 1_000_000 * 102


def test_a_sidecar_beats_at_least_four_times_a_term_and_is_overdue_after_two_pauses() -> None:
    assert lease.longest_pause_s(10_000) == 2.5
    assert lease.longest_pause_s(500) == 0.125
    assert not lease.overdue(5_000, grant_term_ms=10_000)
    assert lease.overdue(5_001, grant_term_ms=10_000)
