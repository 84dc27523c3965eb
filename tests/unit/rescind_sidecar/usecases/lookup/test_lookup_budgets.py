"""The look-up budgets: the rate, the burst and the concurrent look-ups of each source."""

from rescind_sidecar.usecases.lookup.lookup_budgets import LookupBudgets, LookupLimits, LookupSource

NS_PER_S = 1_000_000_000
LIMITS = LookupLimits(per_s=10, burst=20, concurrent=100)
ONE, TWO = LookupSource(user=1, process=1), LookupSource(user=1, process=2)


def spend(budgets: LookupBudgets, source: LookupSource, now_ns: int, *, tries: int = 1_000) -> int:
    """Begin and end look-ups, and return how many the budget allowed."""
    count = 0
    for _ in range(tries):
        if budgets.begin(source, now_ns):
            budgets.end(source)
            count += 1
    return count


def test_after_a_burst_only_the_rate_is_allowed() -> None:
    budgets = LookupBudgets(LIMITS)
    assert spend(budgets, ONE, 0) == 20
    assert spend(budgets, ONE, NS_PER_S) == 10
    assert spend(budgets, ONE, 3 * NS_PER_S // 2) == 5
    assert spend(budgets, ONE, 100 * NS_PER_S) == 20


def test_one_source_does_not_spend_the_budget_of_another() -> None:
    budgets = LookupBudgets(LIMITS)
    assert spend(budgets, ONE, 0) == 20
    assert spend(budgets, TWO, 0) == 20


def test_the_concurrent_look_ups_of_a_source_are_bounded() -> None:
    budgets = LookupBudgets(LookupLimits(per_s=1_000, burst=1_000, concurrent=3))
    assert [budgets.begin(ONE, 0) for _ in range(5)] == [True, True, True, False, False]
    budgets.end(ONE)
    assert [budgets.begin(ONE, 0) for _ in range(2)] == [True, False]


def test_without_time_no_look_up_is_added() -> None:
    budgets = LookupBudgets(LIMITS)
    assert sum(spend(budgets, ONE, 7, tries=1) for _ in range(100)) == 20


def test_a_flood_of_sources_is_bounded_and_drops_the_idle_sources_first() -> None:
    budgets = LookupBudgets(LIMITS, most_sources=8)
    spend(budgets, ONE, 0)
    for process in range(100, 1_000):
        budgets.begin(LookupSource(user=1, process=process), 0)
        assert not budgets.begin(ONE, 0)  # in use: not dropped, so no new burst
    assert len(budgets) == 8
    budgets.end(LookupSource(user=1, process=100))  # already dropped: no effect
