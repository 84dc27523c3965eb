"""Suspensions, lifts and a revoke of one token, by independent operators (design 5).

Two operators suspend and lift, a third one kills (a revoke and a suspension under one id) and lifts
that, a fourth one rotates. The product keeps a set of restrictions. The expected state is
computed from the whole log.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Broken(StrEnum):
    """A rule of the design, switched off."""

    LAST_WINS = "the last event decides, in place of a set of restrictions"
    LIFTS_ALL = "a lift ends every suspension with its selector, not the one that it names"
    LIFTS_REVOKE = "a lift ends the revoke that has the same id"
    JUDGED_OUTSIDE = "whether a suspension changes anything is judged outside the head lock"
    ROTATION_CLEARS = "a changed record comes without the restrictions of the one before"
    UNKNOWN_IS_NONE = "an effect that is newer than the verifier is not a restriction"


class Event(NamedTuple):
    """One event of the log; a lift has the id of what it lifts."""

    effect: str
    name: str


SUSPEND_A, LIFT_A = Event("suspend", "a"), Event("lift", "a")
SUSPEND_B, LIFT_B = Event("suspend", "b"), Event("lift", "b")
REVOKE_K, SUSPEND_K, LIFT_K = Event("revoke", "k"), Event("suspend", "k"), Event("lift", "k")
ROTATE, QUARANTINE = Event("changed", "r"), Event("quarantine", "q")

COMMANDS: dict[str, tuple[Event, ...]] = {
    "suspend a": (SUSPEND_A,),
    "lift a": (LIFT_A,),
    "suspend b": (SUSPEND_B,),
    "lift b": (LIFT_B,),
    "kill k": (REVOKE_K, SUSPEND_K),
    "lift k": (LIFT_K,),
    "rotate": (ROTATE,),
    "quarantine, an effect of the future": (QUARANTINE,),
}
NEEDS = {"lift a": "suspend a", "lift b": "suspend b", "lift k": "kill k"}


class State(NamedTuple):
    """What was commanded and answered, what the ledger says, and what the product makes of it."""

    judged: frozenset[tuple[str, bool]] = frozenset()
    done: frozenset[str] = frozenset()
    standing: frozenset[Event] = frozenset()
    restrictions: frozenset[Event] = frozenset()


Moves = Iterator[tuple[str, State]]


@dataclass(frozen=True)
class Restrictions:
    """All commands, in every order."""

    broken: Broken | None = None

    @property
    def start(self) -> State:
        return State()

    def steps(self, state: State) -> Moves:
        judged = dict(state.judged)
        for name, events in COMMANDS.items():
            if name in state.done or NEEDS.get(name, name) not in {name, *state.done}:
                continue
            if self.broken is Broken.JUDGED_OUTSIDE and name.startswith("suspend"):
                if name not in judged:
                    idle = any(event.effect == "suspend" for event in state.restrictions)
                    yield f"{name}: judged", state._replace(judged=state.judged | {(name, idle)})
                    continue
                if judged[name]:
                    yield f"{name}: nothing to do", self.settle(state, name, events, ())
                    continue
            yield name, self.settle(state, name, events, events)

    def settle(
        self, state: State, name: str, commanded: tuple[Event, ...], written: tuple[Event, ...]
    ) -> State:
        standing, restrictions = state.standing, state.restrictions
        for event in commanded:
            standing = self.told(standing, event)
        for event in written:
            restrictions = self.kept(restrictions, event)
        return State(state.judged, state.done | {name}, standing, restrictions)

    def told(self, standing: frozenset[Event], event: Event) -> frozenset[Event]:
        if event.effect == "lift":
            return standing - {Event("suspend", event.name)}
        return standing if event.effect == "changed" else standing | {event}

    def kept(self, restrictions: frozenset[Event], event: Event) -> frozenset[Event]:
        match event.effect, self.broken:
            case "lift", Broken.LIFTS_ALL:
                return frozenset(each for each in restrictions if each.effect != "suspend")
            case "lift", Broken.LIFTS_REVOKE:
                return frozenset(each for each in restrictions if each.name != event.name)
            case ("lift", Broken.LAST_WINS) | ("changed", Broken.ROTATION_CLEARS):
                return frozenset()
            case "quarantine", Broken.UNKNOWN_IS_NONE:
                return restrictions
            case _, Broken.LAST_WINS if event.effect != "changed":
                return frozenset({event})
            case _:
                return self.told(restrictions, event)

    def wrong(self, state: State) -> str | None:
        return (
            "the token is live, and a restriction still denies it"
            if state.standing and not state.restrictions
            else None
        )
