"""The authority's time after a slow round trip: each answer errs on the side that denies.

Postgres read its clock once between the heartbeat and the reply; the sidecar does not know when. So
what it concludes has to hold whenever in the round trip that was. Each bound leaves a tenth for the
clock here, so the bounds part as the time passes (`view/test_authority_clock.py` in `unit/`).
"""

from dataclasses import replace

from hypothesis import assume, example, given
from hypothesis import strategies as st
from tests.support import messages
from tests.support.naive_ledger import NaiveLedger

from rescind.core.generation_table import HEADER_WORDS, Writer
from rescind.core.verdict import Denied
from rescind.wire import heartbeat
from rescind_sidecar.view.authority_clock import AuthorityTime
from rescind_sidecar.view.record_cache import CachedRecord, Window
from rescind_sidecar.view.view import Current, View

SLOTS = 64
SECOND_NS, SECOND_US = 10**9, 10**6
BASE_NS, BASE_US = 5_000 * SECOND_NS, 1_800_000_000 * SECOND_US

instants_ns = st.integers(-3 * SECOND_NS, 10 * SECOND_NS).map(lambda ns: BASE_NS + ns)
times_us = st.integers(-3 * SECOND_US, 10 * SECOND_US).map(lambda us: BASE_US + us)


@st.composite
def replies(draw: st.DrawFn) -> tuple[AuthorityTime, int]:
    """Draw a round trip of up to 3 s, and when in it the authority read its clock."""
    took_ns = draw(st.integers(0, 3 * SECOND_NS) | st.integers(0, 2_000))
    time = learned(BASE_NS, BASE_NS + took_ns, BASE_US + draw(st.integers(0, 1)))
    return time, draw(st.integers(time.sent.ns, time.received.ns))


def learned(sent_ns: int, received_ns: int, authority_us: int) -> AuthorityTime:
    return AuthorityTime.learned(
        authority_us, sent_ns=sent_ns, received_ns=received_ns, before=None
    )


ONE_INSTANT = (learned(BASE_NS, BASE_NS, BASE_US), BASE_NS)
"""A reply without a way: both bounds begin in it, so that only rounding parts them."""


def shows_ns(time: AuthorityTime, read_ns: int, now_ns: int) -> int:
    """Return what the authority's clock shows now, in nanoseconds, if it was read at `read_ns`."""
    return time.sent.us * 1_000 + (now_ns - read_ns)


def tenth_ns(time: AuthorityTime, away_ns: int) -> int:
    """Return by how much both bounds may part in so long: a tenth of it for each, and a little."""
    took_ns = time.received.ns - time.sent.ns
    return (abs(away_ns) + took_ns) * 25 // 100


@given(reply=replies(), now_ns=instants_ns)
@example(reply=ONE_INSTANT, now_ns=BASE_NS - 950)
@example(reply=ONE_INSTANT, now_ns=BASE_NS + 950)
def test_the_authoritys_clock_lies_between_earliest_and_latest(
    reply: tuple[AuthorityTime, int], now_ns: int
) -> None:
    time, read_ns = reply
    shows = shows_ns(time, read_ns, now_ns)
    assert time.earliest_us(now_ns) * 1_000 <= shows <= time.latest_us(now_ns) * 1_000


@given(reply=replies(), now_ns=instants_ns)
def test_the_interval_is_no_longer_than_the_round_trip_the_tenths_and_its_rounding(
    reply: tuple[AuthorityTime, int], now_ns: int
) -> None:
    time, _ = reply
    width_us = time.latest_us(now_ns) - time.earliest_us(now_ns)
    wider_ns = width_us * 1_000 - (time.received.ns - time.sent.ns)
    assert wider_ns >= -2_000
    assert wider_ns <= tenth_ns(time, now_ns - time.sent.ns) + 2_000


@given(reply=replies(), now_ns=instants_ns, time_us=times_us)
def test_before_its_local_instant_a_time_has_not_come(
    reply: tuple[AuthorityTime, int], now_ns: int, time_us: int
) -> None:
    time, read_ns = reply
    if now_ns < time.before_ns(time_us):
        assert shows_ns(time, read_ns, now_ns) < time_us * 1_000
    last_ns = time.before_ns(time_us) - 1
    assert shows_ns(time, read_ns, last_ns) < time_us * 1_000


@given(reply=replies(), now_ns=instants_ns, time_us=times_us)
def test_from_its_local_instant_on_a_time_has_come(
    reply: tuple[AuthorityTime, int], now_ns: int, time_us: int
) -> None:
    time, read_ns = reply
    if now_ns >= time.after_ns(time_us):
        assert shows_ns(time, read_ns, now_ns) >= time_us * 1_000
    assert shows_ns(time, read_ns, time.after_ns(time_us)) >= time_us * 1_000


@given(reply=replies(), time_us=times_us)
def test_both_local_instants_lie_no_further_off_than_the_round_trip_and_the_tenths(
    reply: tuple[AuthorityTime, int], time_us: int
) -> None:
    time, _ = reply
    apart_ns = time.after_ns(time_us) - time.before_ns(time_us)
    took_ns = time.received.ns - time.sent.ns
    assert took_ns <= apart_ns
    assert apart_ns <= took_ns + tenth_ns(time, (time_us - time.sent.us) * 1_000) + 2


def test_in_a_slow_round_trip_each_answer_uses_the_bound_that_denies() -> None:
    time = learned(sent_ns=0, received_ns=1_500_000_999, authority_us=BASE_US)
    now_ns = 2_000_000_001
    assert time.earliest_us(now_ns) == BASE_US + 449_999  # 9/10 of 499.999002 ms, rounded down
    assert time.latest_us(now_ns) == BASE_US + 2_222_223  # 10/9 of 2 s and 1 ns, rounded up
    assert time.before_ns(BASE_US + 7) == 6_300
    assert time.after_ns(BASE_US + 7) == 1_500_008_777


# In the view ----------------------------------------------------------------------------------


def judged(
    time: AuthorityTime, now_ns: int, *, not_before_us: int, expires_at_us: int
) -> Window | Denied:
    """Return what a view with this reply makes of a token's times."""
    ledger = NaiveLedger()
    token = ledger.issue("tenant:a")
    words = memoryview(bytearray((HEADER_WORDS + SLOTS) * 8)).cast("Q")
    view = View(Writer(words, instance=bytes(16), boot=bytes(16), slots=SLOTS))
    reply = heartbeat.Reply(
        instance=bytes(16),
        nonce=bytes(16),
        position=ledger.top,
        grant_term_ms=10_000,
        authority_us=time.sent.us,
        payloads=(),
    )
    sent = {"sent_ns": time.sent.ns, "received_ns": time.received.ns}
    assert view.accept_lease(reply, carried=None, **sent) == Current()
    record = replace(ledger.record(token), not_before_us=not_before_us, expires_at_us=expires_at_us)
    held = view.fill(token.token_hash, messages.unsigned_record(record))
    assert isinstance(held, CachedRecord)
    return view.judge(held, now_ns)


@given(
    reply=replies(),
    asked_ns=st.integers(0, 8 * SECOND_NS),
    times=st.tuples(times_us, times_us),
    later_ns=st.integers(0, 5 * SECOND_NS),
)
def test_a_token_is_accepted_at_no_moment_outside_its_own_times(
    reply: tuple[AuthorityTime, int], asked_ns: int, times: tuple[int, int], later_ns: int
) -> None:
    """At the sidecar, and for as long as the answer lets a workload accept by itself."""
    time, read_ns = reply
    not_before_us, expires_at_us = sorted(times)
    now_ns = time.received.ns + asked_ns
    window = judged(time, now_ns, not_before_us=not_before_us, expires_at_us=expires_at_us)
    assume(isinstance(window, Window))
    assert isinstance(window, Window)
    for at_ns in (now_ns, now_ns + later_ns, window.not_before_ns, window.until_ns - 1):
        if window.not_before_ns <= at_ns < window.until_ns:
            assert not_before_us * 1_000 <= shows_ns(time, read_ns, at_ns) < expires_at_us * 1_000
