"""What a workload may look up: a rate, a burst, and so much at once."""

from rescind_sidecar.usecases.lookup.rate_limit import LookupLimits, LookupPeer, TokenBucket

NS_PER_S = 1_000_000_000
ALLOWANCE = TokenBucket(per_s=10, burst=20, under_way=100)
ONE, TWO = LookupPeer(user=1, process=1), LookupPeer(user=1, process=2)


def taken(budget: LookupLimits, source: LookupPeer, now_ns: int, *, tries: int = 1_000) -> int:
    """Take what there is, and end each look-up at once."""
    count = 0
    for _ in range(tries):
        if budget.begin(source, now_ns):
            budget.end(source)
            count += 1
    return count


def test_after_a_burst_only_the_rate_is_allowed() -> None:
    budget = LookupLimits(ALLOWANCE)
    assert taken(budget, ONE, 0) == 20
    assert taken(budget, ONE, NS_PER_S) == 10
    assert taken(budget, ONE, 3 * NS_PER_S // 2) == 5
    assert taken(budget, ONE, 100 * NS_PER_S) == 20


def test_one_source_does_not_spend_the_budget_of_another() -> None:
    budget = LookupLimits(ALLOWANCE)
    assert taken(budget, ONE, 0) == 20
    assert taken(budget, TWO, 0) == 20


def test_slow_answers_bound_what_is_under_way() -> None:
    budget = LookupLimits(TokenBucket(per_s=1_000, burst=1_000, under_way=3))
    assert [budget.begin(ONE, 0) for _ in range(5)] == [True, True, True, False, False]
    budget.end(ONE)
    assert [budget.begin(ONE, 0) for _ in range(2)] == [True, False]


def test_a_clock_that_stands_still_adds_nothing() -> None:
    budget = LookupLimits(ALLOWANCE)
    assert sum(taken(budget, ONE, 7, tries=1) for _ in range(100)) == 20


def test_a_flood_of_sources_takes_no_memory_and_forgets_the_idle_first() -> None:
    budget = LookupLimits(ALLOWANCE, most_sources=8)
    taken(budget, ONE, 0)
    for process in range(100, 1_000):
        budget.begin(LookupPeer(user=1, process=process), 0)
        assert not budget.begin(ONE, 0)  # in use: it stays, and gets no new burst
    assert len(budget) == 8
    budget.end(LookupPeer(user=1, process=100))  # forgotten meanwhile: nothing happens
