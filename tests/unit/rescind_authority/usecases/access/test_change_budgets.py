"""The budget of a token's holder: what it suffices for, when it is back, and how much is kept."""

from dataclasses import replace

import pytest
from tests.support.clocks import ManualClock
from tests.support.messages import RECORD

from rescind.core.record import Record
from rescind_authority.errors import TooManyChangesError
from rescind_authority.usecases.access.change_budgets import (
    BURST_S,
    TOKENS_OF_A_SUBJECT,
    Budgets,
    Cost,
)


def bearer(number: int = 0, *, subject: str = "agent:o", chain: tuple[str, ...] = ()) -> Record:
    return replace(RECORD, token_id=f"tok_{number:026d}", subject=subject, chain=chain)


def taken(budgets: Budgets, record: Record, cost: Cost, *, last: bool = False) -> int:
    """Count how often a cost can be taken until it is refused."""
    for number in range(100_000):
        try:
            budgets.take(record, cost, last=last)
        except TooManyChangesError:
            return number
    raise AssertionError("no bound")


def test_a_token_has_a_burst_and_then_its_rate_and_an_event_counts_as_fifty_delegations() -> None:
    clock = ManualClock()
    budgets = Budgets(clock, per_s=10)
    assert taken(budgets, bearer(), Cost.DELEGATION) == 10 * BURST_S
    with pytest.raises(TooManyChangesError) as refused:
        budgets.take(bearer(), Cost.EVENT)
    assert refused.value.retry_after_s == 5
    clock.move(4.9)
    assert taken(budgets, bearer(), Cost.EVENT) == 0
    clock.move(0.1)
    assert taken(budgets, bearer(), Cost.EVENT) == 1
    clock.move(10**6)
    assert taken(budgets, bearer(), Cost.DELEGATION) == 10 * BURST_S


def test_the_tokens_of_a_subject_and_all_below_it_have_a_common_budget() -> None:
    budgets = Budgets(ManualClock(), per_s=10)
    below = [
        bearer(number, subject=f"agent:o/{number}", chain=("agent:o",)) for number in range(1, 9)
    ]
    counts = [taken(budgets, each, Cost.DELEGATION) for each in below]
    assert sum(counts) == 10 * BURST_S * TOKENS_OF_A_SUBJECT
    assert taken(budgets, bearer(99), Cost.DELEGATION) == 0
    assert taken(budgets, bearer(100, subject="agent:other"), Cost.DELEGATION) > 0


def test_a_refused_change_costs_nothing() -> None:
    clock = ManualClock()
    budgets = Budgets(clock, per_s=10)
    taken(budgets, bearer(), Cost.DELEGATION)
    for _ in range(100):
        assert taken(budgets, bearer(), Cost.EVENT) == 0
    clock.move(0.1)
    assert taken(budgets, bearer(), Cost.DELEGATION) == 1


def test_a_holder_with_an_exhausted_budget_may_still_log_out() -> None:
    budgets = Budgets(ManualClock(), per_s=10)
    for number in range(8):
        taken(budgets, bearer(number), Cost.DELEGATION)
    assert taken(budgets, bearer(0), Cost.EVENT) == 0
    assert taken(budgets, bearer(0), Cost.EVENT, last=True) == 10


def test_a_rate_below_the_cost_of_an_event_still_allows_one() -> None:
    clock = ManualClock()
    budgets = Budgets(clock, per_s=0.1)
    assert taken(budgets, bearer(), Cost.EVENT) == 1
    clock.move(500)
    assert taken(budgets, bearer(), Cost.EVENT) == 1


def test_accounts_are_bounded_and_the_one_that_was_idle_longest_is_dropped() -> None:
    budgets = Budgets(ManualClock(), per_s=10, most=6)
    for number in range(50):
        budgets.take(bearer(number, subject=f"user:{number}"), Cost.DELEGATION)
    assert len(budgets) == 6
    assert taken(budgets, bearer(49, subject="user:49"), Cost.DELEGATION) == 10 * BURST_S - 1
