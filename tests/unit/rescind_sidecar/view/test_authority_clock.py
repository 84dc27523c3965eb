"""The authority's time in a sidecar: never too early, never too late, and never backwards."""

from dataclasses import replace
from itertools import pairwise

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from tests.support import messages
from tests.support.naive_ledger import NaiveLedger
from tests.support.tables import TablesInMemory

from rescind.core.verdict import Denied, Reason
from rescind.wire import heartbeat
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.trust_store import FreshKeys
from rescind_sidecar.usecases.instance import SidecarInstances
from rescind_sidecar.usecases.lease.clock_log import ClockLog
from rescind_sidecar.view.authority_clock import AuthorityTime
from rescind_sidecar.view.record_cache import CachedRecord, Window
from rescind_sidecar.view.view import WINDOW_NS, Current, View

S_NS, S_US = 10**9, 10**6
NOW_US = 1_800_000_000_000_000
BEGAN_NS = 1_000 * S_NS


def learned(
    authority_us: int, sent_ns: int, received_ns: int, before: AuthorityTime | None = None
) -> AuthorityTime:
    return AuthorityTime.learned(
        authority_us, sent_ns=sent_ns, received_ns=received_ns, before=before
    )


# One reply, which took a second and a half ------------------------------------------------------

SLOW = learned(NOW_US, BEGAN_NS, BEGAN_NS + 3 * S_NS // 2)


def test_the_latest_time_counts_from_before_the_request_left() -> None:
    """The authority may have read its clock before the request took a second and a half more."""
    assert SLOW.latest_us(BEGAN_NS) == NOW_US
    assert SLOW.latest_us(BEGAN_NS + 9 * S_NS) == NOW_US + 10 * S_US


def test_the_earliest_time_counts_from_when_the_reply_arrived() -> None:
    arrived_ns = BEGAN_NS + 3 * S_NS // 2
    assert SLOW.earliest_us(arrived_ns) == NOW_US
    assert SLOW.earliest_us(arrived_ns + 10 * S_NS) == NOW_US + 9 * S_US


def test_an_end_has_certainly_not_come_counted_from_before_the_request_left() -> None:
    assert SLOW.before_ns(NOW_US + 10 * S_US) == BEGAN_NS + 9 * S_NS


def test_a_beginning_has_certainly_come_counted_from_when_the_reply_arrived() -> None:
    assert SLOW.after_ns(NOW_US + 9 * S_US) == BEGAN_NS + 3 * S_NS // 2 + 10 * S_NS


def test_a_measured_duration_is_not_rounded_to_the_safe_side() -> None:
    assert SLOW.since_us(NOW_US, BEGAN_NS + 9 * S_NS) == 9 * S_US
    assert SLOW.since_us(NOW_US + 99 * S_US, BEGAN_NS + 9 * S_NS) == 0


# Any replies: clocks here that are 10 % off, and a clock there that is set ----------------------

RATES = st.sampled_from([900, 950, 1_000, 1_050, 1_100])
STEPS_US = st.sampled_from([0, 0, 0, -120 * S_US, -S_US, S_US, 120 * S_US, -3_600 * S_US])


@st.composite
def exchanges(draw: st.DrawFn) -> list[tuple[int, int, int, int]]:
    """Draw heartbeats: when each left, was answered and arrived (true ns), and a step before it."""
    found: list[tuple[int, int, int, int]] = []
    now_ns = 0
    for _ in range(draw(st.integers(1, 6))):
        sent_ns = now_ns + draw(st.integers(0, 10 * S_NS))
        read_ns = sent_ns + draw(st.integers(0, 2 * S_NS))
        now_ns = read_ns + draw(st.integers(0, 2 * S_NS))
        found.append((sent_ns, read_ns, now_ns, draw(STEPS_US)))
    return found


@given(exchanges(), RATES, st.integers(0, 60 * S_NS))
def test_within_the_rates_that_are_assumed_the_authoritys_time_lies_between_the_two(
    beats: list[tuple[int, int, int, int]], rate: int, after_ns: int
) -> None:
    """A clock here at 0.9 to 1.1 of the true rate, and no step there."""
    time: AuthorityTime | None = None
    for sent_ns, read_ns, received_ns, _ in beats:
        local = [each * rate // 1_000 for each in (sent_ns, received_ns)]
        time = learned(NOW_US + read_ns // 1_000, local[0], local[1], time)
        for true_ns in (received_ns, received_ns + after_ns):
            at_ns, there_us = true_ns * rate // 1_000, NOW_US + true_ns // 1_000
            assert time.earliest_us(at_ns) <= there_us + 1
            assert time.latest_us(at_ns) >= there_us - 1


@given(exchanges(), RATES, st.integers(-7_200 * S_US, 7_200 * S_US))
def test_no_reply_moves_a_bound_to_the_side_that_accepts(
    beats: list[tuple[int, int, int, int]], rate: int, ends_us: int
) -> None:
    """Whatever the clock there is set to, and however long a reply took."""
    time: AuthorityTime | None = None
    offset_us, shown_us = NOW_US, list[int]()
    ended = False
    for sent_ns, read_ns, received_ns, step_us in beats:
        offset_us += step_us
        sent, received = sent_ns * rate // 1_000, received_ns * rate // 1_000
        then = learned(offset_us + read_ns // 1_000, sent, received, time)
        if time is not None:
            assert then.earliest_us(received) <= time.earliest_us(received)
            shown_us.append(time.latest_us(received))
        time = then
        shown_us.append(time.latest_us(received))
        over = shown_us[-1] >= NOW_US + ends_us
        assert over or not ended
        ended = over
        assert not over or time.before_ns(NOW_US + ends_us) <= received
    assert all(later >= earlier for earlier, later in pairwise(shown_us))


@given(exchanges(), st.integers(0, 60 * S_NS), st.integers(-(10**9), 10**9))
def test_the_local_instants_agree_with_the_bounds(
    beats: list[tuple[int, int, int, int]], after_ns: int, away_us: int
) -> None:
    time: AuthorityTime | None = None
    for sent_ns, read_ns, received_ns, step_us in beats:
        time = learned(NOW_US + step_us + read_ns // 1_000, sent_ns, received_ns, time)
    assert time is not None
    at_ns = beats[-1][2] + after_ns
    wanted_us = NOW_US + away_us
    if at_ns < time.before_ns(wanted_us):
        assert time.latest_us(at_ns) <= wanted_us
    if at_ns >= time.after_ns(wanted_us) >= beats[-1][2]:
        assert time.earliest_us(at_ns) >= wanted_us - 1


def test_after_a_clock_was_set_back_the_time_goes_on_and_meets_it_again() -> None:
    """Two minutes back: the token that ends in a minute does so, a little late."""
    time = learned(NOW_US, BEGAN_NS, BEGAN_NS)
    passed = range(S_NS, 3_000 * S_NS, 2 * S_NS)
    shown: dict[int, int] = {}
    for each in passed:
        now_ns = BEGAN_NS + each
        shown[each] = time.latest_us(now_ns)
        time = learned(NOW_US + each // 1_000 - 120 * S_US, now_ns, now_ns, time)
    ended_ns = next(each for each, us in shown.items() if us >= NOW_US + 60 * S_US)
    assert 60 * S_NS <= ended_ns <= 70 * S_NS
    ahead_us = [us - (NOW_US + each // 1_000 - 120 * S_US) for each, us in shown.items()]
    assert ahead_us == sorted(ahead_us, reverse=True)
    assert ahead_us[-1] < S_US


def test_after_a_clock_was_set_forward_a_beginning_comes_no_earlier_than_it_may() -> None:
    """Another server is a minute ahead: what begins in half a minute is not good at once."""
    time = learned(NOW_US + 60 * S_US, BEGAN_NS, BEGAN_NS, learned(NOW_US, BEGAN_NS, BEGAN_NS))
    assert time.latest_us(BEGAN_NS) == NOW_US + 60 * S_US
    assert time.earliest_us(BEGAN_NS) == NOW_US
    assert time.earliest_us(BEGAN_NS + 27 * S_NS) == NOW_US + 30 * S_US
    assert time.after_ns(NOW_US + 30 * S_US) == BEGAN_NS + 27 * S_NS


def test_a_clock_that_was_set_back_is_logged_once_in_ten_minutes_and_a_slow_reply_is_not() -> None:
    log = ClockLog()
    with structlog.testing.capture_logs() as lines:
        log.observe(None, BEGAN_NS)
        time = learned(NOW_US, BEGAN_NS, BEGAN_NS + 4 * S_NS)
        log.observe(time, BEGAN_NS + 4 * S_NS)
        time = learned(NOW_US + 4 * S_US, BEGAN_NS + 4 * S_NS, BEGAN_NS + 4 * S_NS, time)
        log.observe(time, BEGAN_NS + 4 * S_NS)
        assert lines == []
        time = learned(NOW_US - 60 * S_US, BEGAN_NS + 9 * S_NS, BEGAN_NS + 9 * S_NS, time)
        for later_s in (9, 10, 300):
            log.observe(time, BEGAN_NS + later_s * S_NS)
    assert [(line["action"], round(line["behind_s"])) for line in lines] == [("clock.set_back", 70)]


# In the view ------------------------------------------------------------------------------------


class World:
    """A view that follows a ledger, and a token in it that ends ten minutes after its issue."""

    def __init__(self, view: View | None = None) -> None:
        self.ledger = NaiveLedger()
        self.token = self.ledger.issue("tenant:a")
        self.view = view or View(TablesInMemory().begin(bytes(16)))

    def beat(self, authority_us: int, sent_ns: int, *, took_ns: int = 0) -> None:
        reply = heartbeat.Reply(
            instance=bytes(16),
            nonce=bytes(16),
            position=self.ledger.top,
            grant_term_ms=10_000,
            authority_us=authority_us,
            payloads=(),
        )
        progress = self.view.accept_lease(
            reply, carried=None, sent_ns=sent_ns, received_ns=sent_ns + took_ns
        )
        assert progress == Current()

    def filled(self, *, ends_us: int, begins_us: int = 0) -> CachedRecord:
        record = self.ledger.record(self.token)
        record = replace(record, not_before_us=begins_us, expires_at_us=ends_us)
        held = self.view.fill(self.token.token_hash, messages.unsigned_record(record))
        assert isinstance(held, CachedRecord)
        return held


EXPIRED = Denied(Reason.EXPIRED)


def test_a_token_that_was_over_stays_over_when_the_authoritys_clock_is_set_back() -> None:
    world = World()
    world.beat(NOW_US, BEGAN_NS)
    ends_us = NOW_US + 10 * S_US
    assert world.view.judge(world.filled(ends_us=ends_us), BEGAN_NS + 11 * S_NS) == EXPIRED
    world.beat(NOW_US + 11 * S_US - 120 * S_US, BEGAN_NS + 11 * S_NS)
    for later_s in (11, 12, 60, 500):
        held = world.filled(ends_us=ends_us)
        assert world.view.judge(held, BEGAN_NS + later_s * S_NS) == EXPIRED


def test_a_new_instance_of_the_process_goes_on_with_the_time_of_the_one_before() -> None:
    """A failover to a server whose clock is behind may end the instance too."""
    instances = SidecarInstances(TablesInMemory(), FreshKeys(), Counters())
    before = World(instances.current.view)
    before.beat(NOW_US, BEGAN_NS)
    instances.begin_anew("another history")
    after = World(instances.current.view)
    assert after.view is not before.view
    after.beat(NOW_US - 300 * S_US, BEGAN_NS + S_NS)
    held = after.filled(ends_us=NOW_US)
    assert after.view.judge(held, BEGAN_NS + S_NS) == EXPIRED


def test_the_window_of_a_record_ends_as_if_the_clock_were_slow_and_counts_from_the_request() -> (
    None
):
    world = World()
    world.beat(NOW_US, BEGAN_NS, took_ns=S_NS)
    window = world.view.judge(world.filled(ends_us=NOW_US + 100 * S_US), BEGAN_NS + S_NS)
    assert window == Window(0, BEGAN_NS + 90 * S_NS)


def test_the_window_begins_counted_from_when_the_reply_arrived() -> None:
    world = World()
    world.beat(NOW_US, BEGAN_NS, took_ns=S_NS)
    held = world.filled(begins_us=NOW_US, ends_us=NOW_US + 100 * S_US)
    window = world.view.judge(held, BEGAN_NS + S_NS)
    assert window == Window(BEGAN_NS + S_NS, BEGAN_NS + 90 * S_NS)
    early = world.filled(begins_us=NOW_US + 1, ends_us=NOW_US + 100 * S_US)
    assert world.view.judge(early, BEGAN_NS + S_NS) == Denied(Reason.NOT_YET_VALID)


def test_a_window_is_not_used_for_more_than_five_minutes() -> None:
    world = World()
    world.beat(NOW_US, BEGAN_NS)
    held = world.filled(ends_us=NOW_US + 10**12)
    assert world.view.judge(held, BEGAN_NS) == Window(0, BEGAN_NS + WINDOW_NS)
    assert WINDOW_NS == 300 * S_NS
    # A step of the clock there is noticed then, not an hour later.
    world.beat(NOW_US + 10**12, BEGAN_NS + S_NS)
    assert isinstance(world.view.judge(held, BEGAN_NS + WINDOW_NS - 1), Window)
    assert world.view.judge(held, BEGAN_NS + WINDOW_NS) == EXPIRED


@pytest.mark.parametrize("rate", [0.9, 1.0, 1.1])
def test_no_clock_within_what_is_assumed_accepts_a_token_after_its_end(rate: float) -> None:
    """With a heartbeat each 2.5 s, and asked whenever a window ends."""
    world = World()
    ends_us, true_ns, last_ns = NOW_US + 1_000 * S_US, 0, 0
    while True:
        here_ns = BEGAN_NS + int(true_ns * rate)
        world.beat(NOW_US + true_ns // 1_000, here_ns)
        judged = world.view.judge(world.filled(ends_us=ends_us), here_ns)
        if isinstance(judged, Denied):
            break
        last_ns = int((judged.until_ns - BEGAN_NS) / rate)
        assert last_ns <= 1_000 * S_NS
        true_ns += 5 * S_NS // 2
    assert last_ns >= 995 * S_NS  # nor is it denied long before
