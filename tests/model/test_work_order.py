"""The model of held work takes its steps in the order of the code: here both are compared.

What two threads share is read and written by `hold.py` and `monitor.py` without a lock. A
traced hold, and its supervisor, note each access as it happens.
"""

import asyncio
from typing import Any

import pytest
from tests.model import work
from tests.support import virtual_time

from rescind import Reason, Verdict
from rescind.client import clock
from rescind.client.holds import monitor
from rescind.client.holds.hold import Hold
from rescind.client.holds.monitor import HoldMonitor
from rescind.core.verdict import Allowed, CheckRequest

ALLOWED: Verdict = Allowed(None)  # type: ignore[arg-type]  # nothing here reads the record
STEPS = {
    "add": "registers",
    "check": "is judged",
    "write _end_work": "can be ended",
    "read reason": "reads the reason",
    "schedule": "is admitted",
    "clear": "clears the news",
    "take": "takes the roll",
    "write check_deferred": "passes by",
    "read _end_work": "reads the end",
    "recall": "judges",
}


class Traced(Hold):
    """A hold that notes each read and write of what two threads share."""

    def __init__(self, steps: list[str], supervisor: Any) -> None:
        self.steps: list[str] = []
        super().__init__(supervisor, CheckRequest("token"))
        self.steps = steps

    def __setattr__(self, name: str, value: object) -> None:
        if name in ("_end_work", "check_deferred"):
            self.steps.append(f"write {name}")
        super().__setattr__(name, value)

    def __getattribute__(self, name: str) -> Any:
        if name in ("_end_work", "reason"):
            super().__getattribute__("steps").append(f"read {name}")
        return super().__getattribute__(name)


class Supervisor:
    """A supervisor that allows everything, and notes each call."""

    next_check_ns = 0

    def __init__(self, steps: list[str]) -> None:
        self.steps = steps
        self.held: Hold | None = None

    def check_request(self, claim: CheckRequest) -> Verdict:
        self.steps.append("check")
        return ALLOWED

    async def acheck_request(self, claim: CheckRequest) -> Verdict:
        return self.check_request(claim)

    def add(self, hold: Hold) -> None:
        self.steps.append("add")
        self.held = hold

    def schedule(self, hold: Hold) -> None:
        self.steps.append("schedule")

    def remove(self, hold: Hold) -> None:
        self.held = None

    def take(self, next_check_ns: int) -> list[Hold]:
        self.steps.append("take")
        return [] if self.held is None else [self.held]

    def check_by(self, ns: int) -> bool:
        return False

    def finished(self) -> bool:
        return self.steps.count("take") == 1


def named(steps: list[str]) -> tuple[str, ...]:
    """Return the model's names of steps, each where it was taken first."""
    return tuple(dict.fromkeys(STEPS[step] for step in steps))


def test_a_thread_registers_its_work_in_the_order_of_the_model() -> None:
    steps: list[str] = []
    with Traced(steps, Supervisor(steps)):
        taken = named(steps)
    assert taken == work.WORKER


async def test_a_task_registers_its_work_in_the_order_of_the_model() -> None:
    steps: list[str] = []
    async with Traced(steps, Supervisor(steps)):
        taken = named(steps)
    assert taken == work.WORKER


class News(asyncio.Event):
    """The news, which note when they are cleared."""

    steps: list[str]

    def clear(self) -> None:
        self.steps.append("clear")
        super().clear()


class Silent:
    """The connection to a sidecar that never tells of a change."""

    open = True

    def __init__(self, *_: object) -> None:
        pass

    async def listen(self) -> None:
        await asyncio.Event().wait()


class Judge:
    """A judge and a session that allow everything from memory."""

    table = object()

    def __init__(self, steps: list[str]) -> None:
        self.steps = steps

    def recall_request(self, request: CheckRequest) -> Verdict:
        self.steps.append("recall")
        return ALLOWED

    def ends_ns(self, token: str) -> None:
        return None


def test_the_monitor_checks_in_the_order_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "ChangeSubscription", Silent)
    monkeypatch.setattr(clock, "boottime_ns", lambda: 0)
    steps: list[str] = []

    async def look() -> None:
        supervisor = Supervisor(steps)
        hold = Traced(steps, supervisor)
        hold._end_work = lambda reason: None
        supervisor.held = hold
        itself: Any = supervisor
        check_request: Any = Judge(steps)
        watching = HoldMonitor(itself, check_request, lambda: check_request)
        news = News()
        news.steps = steps
        monkeypatch.setattr(watching, "_change", news)
        steps.clear()
        await watching.run()

    virtual_time.run(look())
    assert named(steps) == work.LOOKOUT


def test_a_hit_leaves_its_reason_before_it_ends_the_work() -> None:
    """The other side of `reads the reason` after `can be ended`: one of the two sees the other."""
    steps: list[str] = []
    hold = Traced(steps, Supervisor(steps))
    told: list[Reason | None] = []
    hold._end_work = lambda reason: told.append(Hold.__getattribute__(hold, "reason"))
    hold.end(Reason.REVOKED)
    assert told == [Reason.REVOKED]
