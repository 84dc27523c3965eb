"""Try everything: each state that a model can reach, nearest first, so that a trace is a shortest.

A model has a state that can be hashed, gives the steps out of one, and says whether one is wrong,
and why. Rules that a model obeys can be broken one at a time: then the explorer
must find what goes wrong.
"""

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

S = TypeVar("S", bound=Hashable)

Steps = Iterable[tuple[str, S]]

MAX_STATES = 4_000_000
"""A model that has more is too large for a test: make it smaller, not this number larger."""


@dataclass(frozen=True, slots=True)
class Found:
    """How many states there were, until the first wrong one; the steps to that, if there is one."""

    states: int
    problem: str | None = None
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.problem is None:
            return f"safe in all {self.states} states"
        numbered = [f"{number:3}. {step}" for number, step in enumerate(self.trace, start=1)]
        return "\n".join([f"{self.problem} (of {self.states} states), after", *numbered])


class Model(Protocol[S]):
    """What can happen, and what must not."""

    @property
    def start(self) -> S:
        """Where everything begins."""
        ...

    def steps(self, state: S) -> Steps[S]:
        """Return the possible next steps: a name, and the state after it."""
        ...

    def wrong(self, state: S) -> str | None:
        """Return the violation in a state, or None."""
        ...


def explore(model: Model[S]) -> Found:
    """Visit every reachable state, until one has a violation."""
    came: dict[S, tuple[str, S] | None] = {model.start: None}
    queue = deque([model.start])
    while queue:
        state = queue.popleft()
        problem = model.wrong(state)
        if problem is not None:
            return Found(len(came), problem, _trace(came, state))
        for name, after in model.steps(state):
            if after not in came:
                came[after] = (name, state)
                queue.append(after)
        assert len(came) <= MAX_STATES, "too many states to look at all of them"
    return Found(len(came))


def _trace(came: dict[S, tuple[str, S] | None], state: S) -> tuple[str, ...]:
    names: list[str] = []
    step = came[state]
    while step is not None:
        names.append(step[0])
        step = came[step[1]]
    return tuple(reversed(names))
