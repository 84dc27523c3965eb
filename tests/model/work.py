"""Work that is held under a token, and the lookout that has to end it (design 6.7).

Two threads of a workload, step by step, beside a sidecar. The worker registers its work, has it
judged and goes on; the lookout looks at all that is registered whenever there is news, or a look is
due. Meanwhile the token is hit, or the lease lapses, or the verifier is closed. When nothing is
left to happen, no work goes on under a token that is denied.

The orders below are those of the code: `test_work_order.py` takes them from it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

LAPSE, NEVER = 1, 2
"""When the lease ends, and when a look is due that nothing asked for."""

WORKER = ("registers", "is judged", "can be ended", "reads the reason", "is admitted")
LOOKOUT = ("clears the news", "takes the roll", "passes by", "reads the end", "judges")


class Broken(StrEnum):
    """A rule of the design, switched off."""

    CHECKED_FIRST = "work is judged first, and registered then"
    ENDED_LATE = "work reads whether a reason came before it can be ended by one"
    PASSED_UNSEEN = "the lookout reads whether work can be ended, and then notes that it passed by"
    UNADMITTED = "nothing looks again at work that the lookout passed by before it was admitted"
    NEWS_LAST = "the news are cleared after the look, not before it"
    ROLL_FIRST = "the roll is taken before the news are cleared"
    TOLD_EARLY = "the sidecar tells of an event before its table shows it"
    UNDATED = "no look is due when the lease ends"
    EXCUSED = "a lease that lapsed is excused for ever"
    ASKED_ONCE = "an answer that was under way when the news came is believed"


WORKER_ORDERS: dict[Broken | None, tuple[str, ...]] = {
    Broken.CHECKED_FIRST: (WORKER[1], WORKER[0], *WORKER[2:]),
    Broken.ENDED_LATE: (*WORKER[:2], WORKER[3], WORKER[2], WORKER[4]),
}
LOOKOUT_ORDERS: dict[Broken | None, tuple[str, ...]] = {
    Broken.PASSED_UNSEEN: (*LOOKOUT[:2], LOOKOUT[3], LOOKOUT[2], LOOKOUT[4]),
    Broken.NEWS_LAST: (*LOOKOUT[1:], LOOKOUT[0]),
    Broken.ROLL_FIRST: (LOOKOUT[1], LOOKOUT[0], *LOOKOUT[2:]),
}


class State(NamedTuple):
    """`due` is when the next look is; `asking` counts: not, asked, answered."""

    now: int = 0
    others: bool = False
    another: bool = False
    shown: bool = False
    told: bool = False
    closed: bool = False
    abandoned: bool = False
    worker: int = 0
    registered: bool = False
    endable: bool = False
    reason: bool = False
    passed_by: bool = False
    over: bool = False
    news: bool = False
    due: int = NEVER
    lookout: int = 0
    rolled: bool = False
    saw_end: bool = False
    asking: int = 0
    answer: bool = False
    again: bool = False


Moves = Iterator[tuple[str, State]]


@dataclass(frozen=True)
class Works:
    """One piece of work, one event, one lease."""

    broken: Broken | None = None

    @property
    def worker(self) -> tuple[str, ...]:
        return WORKER_ORDERS.get(self.broken, WORKER)

    @property
    def lookout(self) -> tuple[str, ...]:
        return LOOKOUT_ORDERS.get(self.broken, LOOKOUT)

    @property
    def start(self) -> State:
        return State()

    def steps(self, state: State) -> Moves:
        if state.now < LAPSE:
            yield "the lease lapses", state._replace(now=LAPSE)
        if state == self.start:
            held = state._replace(others=True, due=self.dated(NEVER))
            yield "other work is held under the same lease already", held
        yield from self.sidecar(state)
        if not state.over and state.worker < len(self.worker):
            what = self.worker[state.worker]
            yield f"the work {what}", self.work(state, what)._replace(worker=state.worker + 1)
        yield from self.looking(state)
        yield from self.asked(state)

    def sidecar(self, state: State) -> Moves:
        early = self.broken is Broken.TOLD_EARLY
        if not state.shown and (state.told or not early):
            yield "the table shows the event", state._replace(shown=True)
        if not state.told and (state.shown or early):
            yield "the sidecar tells of it", state._replace(told=True, news=True)
        if not state.another:
            yield (
                "the sidecar tells of an event of another token",
                state._replace(another=True, news=True),
            )
        if state.registered and not state.closed:
            yield "the verifier is closed", state._replace(closed=True)

    def denied(self, state: State) -> bool:
        return state.shown or state.now >= LAPSE

    def work(self, state: State, what: str) -> State:
        match what:
            case "registers":
                return state._replace(registered=True)
            case "is judged":
                return self.unregistered(state) if self.denied(state) else state
            case "can be ended":
                return state._replace(endable=True)
            case "reads the reason":
                return self.unregistered(state) if state.reason else state
            case _:
                passed = state.passed_by and self.broken is not Broken.UNADMITTED
                due = self.dated(state.due)
                return state._replace(due=due, news=state.news or passed or due < state.due)

    def dated(self, due: int) -> int:
        return due if self.broken is Broken.UNDATED else min(due, LAPSE)

    def unregistered(self, state: State) -> State:
        return state._replace(registered=False, over=True)

    def hit(self, state: State) -> State:
        hit = state._replace(reason=True, registered=False)
        return hit._replace(over=True) if state.endable else hit

    def looking(self, state: State) -> Moves:
        if state.abandoned:
            return
        if state.lookout == 0 and state.closed:
            left = self.hit(state) if state.registered else state
            yield "the lookout ends, and what is registered", left._replace(abandoned=True)
            return
        if state.lookout == 0 and not self.awake(state):
            return
        what = self.lookout[state.lookout]
        after = self.look(state, what)
        if what == "reads the end" and not after.saw_end:
            after = after._replace(rolled=False)  # it passes by, and judges nothing
        place = (state.lookout + 1) % len(self.lookout)
        yield f"the lookout {what}", after._replace(lookout=place)

    def awake(self, state: State) -> bool:
        return state.news or state.now >= state.due

    def look(self, state: State, what: str) -> State:
        match what:
            case "clears the news":
                return state._replace(news=False)
            case "takes the roll":
                return state._replace(rolled=state.registered, due=NEVER, saw_end=False)
            case "passes by":
                return state._replace(passed_by=state.passed_by or state.rolled)
            case "reads the end":
                return state._replace(saw_end=state.rolled and state.endable)
            case _:
                dated = state._replace(due=self.dated(state.due)) if state.others else state
                return self.judge(dated) if state.rolled and state.saw_end else dated

    def judge(self, state: State) -> State:
        if state.asking:
            return state._replace(again=True)
        if not state.registered:
            return state
        if not self.denied(state):
            return state._replace(due=self.dated(state.due))
        excused = self.broken is Broken.EXCUSED and not state.shown
        return state if excused else self.hit(state)

    def asked(self, state: State) -> Moves:
        """Return the steps of a look-up, which may be needed at any time."""
        if not state.asking and state.registered and state.endable and not state.abandoned:
            yield "the sidecar is asked", state._replace(asking=1, again=False)
        elif state.asking == 1:
            answer = not self.denied(state)
            yield f"it answers {answer}", state._replace(asking=2, answer=answer)
        elif state.asking == 2:
            yield "the answer arrives", self.answered(state._replace(asking=0))

    def answered(self, state: State) -> State:
        if not state.registered or state.abandoned:
            return state
        if not state.answer:
            return self.hit(state)
        if state.again and self.broken is not Broken.ASKED_ONCE:
            return state._replace(asking=1, again=False)
        due = self.dated(state.due)
        return state._replace(due=due, news=state.news or due < state.due)

    def wrong(self, state: State) -> str | None:
        admitted = state.worker == len(self.worker) and not state.over
        if not admitted or state.asking or state.told is not state.shown:
            return None
        if state.abandoned:
            return "the lookout has ended, and the work goes on"
        quiet = state.lookout == 0 and not state.closed and not self.awake(state)
        if quiet and self.denied(state):
            return "the token is denied, nothing is left to happen, and the work goes on"
        return None
