"""Every interleaving of the small models: safe as designed, and caught with any one rule off."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pytest
from tests.model import catalogue
from tests.model.explorer import Found, Model, Steps, explore
from tests.support import seeded_bugs

say = print


@dataclass(frozen=True)
class Stairs:
    """Seven steps, of which one goes up one or three at a time."""

    forbidden: int
    start: int = 0

    def steps(self, state: int) -> Steps[int]:
        return [(f"+{step}", state + step) for step in (1, 3) if state + step <= 7]

    def wrong(self, state: int) -> str | None:
        return "forbidden" if state == self.forbidden else None


@pytest.mark.parametrize(
    "model", [pytest.param(model, id=name) for name, model in catalogue.sound()]
)
def test_with_every_rule_obeyed_no_order_of_events_is_wrong(model: Model[Any]) -> None:
    found = explore(model)
    say(found)
    assert found.problem is None, found


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize(
    "model", [pytest.param(model, id=name) for name, model in catalogue.sound_and_long()]
)
def test_with_every_rule_obeyed_no_order_of_events_is_wrong_in_a_larger_world(
    model: Model[Any],
) -> None:
    found = explore(model)
    say(found)
    assert found.problem is None, found


@pytest.mark.parametrize(
    ("rule", "where", "model"),
    [
        pytest.param(rule, where, model, id=f"{where}: {rule}")
        for rule, where, model in catalogue.broken()
    ],
)
def test_a_rule_switched_off_is_detected_with_the_shortest_trace(
    rule: StrEnum, where: str, model: Model[Any]
) -> None:
    found = explore(model)
    say(found)
    assert found.problem is not None, f"a survivor: {rule}"
    assert seeded_bugs.by_model(rule, where, found) in seeded_bugs.written()


def test_the_explorer_finds_the_shortest_way_and_counts_the_states_it_saw() -> None:
    found = explore(Stairs(forbidden=7))
    assert (found.trace, found.states) == (("+1", "+3", "+3"), 8)
    assert explore(Stairs(forbidden=8)) == Found(8)
