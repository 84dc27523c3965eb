"""Without a lease work ends; a sidecar that is replaced is waited for, but not for ever."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support import virtual_time

from rescind import Denied, Reason, Verdict
from rescind.client import clock
from rescind.client.holds import monitor
from rescind.client.holds.monitor import HoldMonitor
from rescind.client.lease_end import Freshness
from rescind.core.verdict import Allowed, CheckRequest

TIMEOUT_S = 0.25
SOON_S = 0.05
NO_LEASE, UNAVAILABLE = Denied(Reason.NO_LEASE), Denied(Reason.UNAVAILABLE)
ALLOWED: Verdict = Allowed(None)  # type: ignore[arg-type]  # a lookout never reads the record


def now_s() -> float:
    return asyncio.get_running_loop().time()


class SilentSubscription:
    """The connection to a sidecar that never tells of a change."""

    open = False

    def __init__(self, *_: object) -> None:
        pass

    async def listen(self) -> None:
        await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def _virtual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "boottime_ns", lambda: int(now_s() * 1e9))
    monkeypatch.setattr(clock, "monotonic_s", now_s)
    monkeypatch.setattr(monitor, "ChangeSubscription", SilentSubscription)


class Work:
    """What is held: when it was ended, and why (a Hold)."""

    request = CheckRequest("token")

    def __init__(self) -> None:
        self.ended: tuple[float, Reason] | None = None
        self.allowed: Verdict | None = None
        self.reason: Reason | None = None
        self.table_until_ns: int | None = None

    def defer(self) -> bool:
        return False

    def end(self, reason: Reason) -> None:
        self.reason = reason
        self.ended = (now_s(), reason)


@dataclass
class Sidecar:
    """What the session and the judge find: both change when the test says so."""

    verdict: Verdict = ALLOWED
    asked: Verdict | None = None
    handed_over: bool = False
    fresh_ms: int = 0
    mapped: bool = True

    # As a Session -------------------------------------------------------------------------------

    path = Path("/nowhere")

    @property
    def table(self) -> object:
        return object() if self.mapped else None

    def freshness(self) -> Freshness:
        return Freshness(1, self.fresh_ms)

    def new_deadline_s(self) -> float:
        return now_s() + TIMEOUT_S

    def ends_ns(self, token: str) -> tuple[int, int] | None:
        return None

    # As a TokenChecker --------------------------------------------------------------------------

    def recall_request(self, request: CheckRequest) -> Verdict | None:
        return None if self.asked is not None else self.verdict

    async def acheck_request(self, request: CheckRequest) -> Verdict:
        await asyncio.sleep(0.001)
        assert self.asked is not None
        return self.asked


class Works:
    """The holdings there are (a Roll)."""

    def __init__(self, *works: Work) -> None:
        self.works = set(works)
        self.next_check_ns = 0

    def take(self, next_check_ns: int) -> set[Work]:
        self.next_check_ns = next_check_ns
        return self.works.copy()

    def check_by(self, ns: int) -> bool:
        earlier = ns < self.next_check_ns
        self.next_check_ns = min(ns, self.next_check_ns)
        return earlier

    def remove(self, work: Work) -> None:
        self.works.discard(work)

    def finished(self) -> bool:
        return not self.works


def ended(sidecar: Sidecar, *changes: tuple[float, Callable[[], object]], for_s: float = 10) -> Any:
    """Watch one piece of work while the sidecar changes; give when and why it was ended."""
    work = Work()

    async def live() -> None:
        loop = asyncio.get_running_loop()
        for at_s, change in changes:
            loop.call_at(at_s, change)
        itself: Any = sidecar
        schedule: Any = Works(work)
        watching = HoldMonitor(schedule, itself, lambda: itself)
        try:
            async with asyncio.timeout(for_s):
                await watching.run()
        except TimeoutError:
            pass

    virtual_time.run(live())
    return work.ended


def becomes(sidecar: Sidecar, **facts: object) -> Callable[[], object]:
    def change() -> None:
        for name, value in facts.items():
            setattr(sidecar, name, value)

    return change


def test_a_lapsed_lease_ends_the_work_at_the_next_check() -> None:
    sidecar = Sidecar()
    at_s, reason = ended(sidecar, (1.5, becomes(sidecar, verdict=NO_LEASE)))
    assert reason is Reason.NO_LEASE
    assert 1.5 <= at_s < 1.5 + SOON_S


def test_a_lapsed_lease_ends_the_work_also_if_the_sidecar_has_to_be_asked() -> None:
    sidecar = Sidecar(asked=ALLOWED)
    at_s, reason = ended(sidecar, (1.5, becomes(sidecar, asked=NO_LEASE)))
    assert reason is Reason.NO_LEASE
    assert 1.5 <= at_s < 1.5 + SOON_S


@pytest.mark.parametrize("verdict", [NO_LEASE, UNAVAILABLE])
@pytest.mark.parametrize("asked", [False, True])
def test_a_sidecar_that_left_and_has_no_successor_is_waited_for_as_long_as_a_check_waits(
    verdict: Verdict, asked: bool
) -> None:
    sidecar = Sidecar(asked=ALLOWED if asked else None)
    leaves = {"asked" if asked else "verdict": verdict, "handed_over": True}
    at_s, reason = ended(sidecar, (1.5, becomes(sidecar, **leaves)))
    assert isinstance(verdict, Denied)
    assert reason is verdict.reason
    assert 1.5 + TIMEOUT_S <= at_s < 1.5 + TIMEOUT_S + 2 * SOON_S


@pytest.mark.parametrize("asked", [False, True])
def test_work_goes_on_when_the_successor_comes_in_time(asked: bool) -> None:
    sidecar = Sidecar(asked=ALLOWED if asked else None)
    name = "asked" if asked else "verdict"
    leaves = becomes(sidecar, handed_over=True, **{name: NO_LEASE})
    comes = becomes(sidecar, handed_over=False, fresh_ms=1_000, **{name: ALLOWED})
    assert ended(sidecar, (1.5, leaves), (1.6, comes)) is None


def test_a_lease_renewed_during_a_check_ends_nothing_but_a_missing_one_ends_the_work() -> None:
    """What is read as denied may be answered for by then; a lease of 0 ms is none."""
    sidecar = Sidecar(verdict=NO_LEASE, fresh_ms=1)
    at_s, reason = ended(sidecar, (3.0, becomes(sidecar, fresh_ms=0)))
    assert reason is Reason.NO_LEASE
    assert 3.0 <= at_s < 3.0 + SOON_S


def test_a_sidecar_that_keeps_leaving_is_not_waited_for_each_time_anew() -> None:
    """Right after one patience there is no second: only a second later."""
    sidecar = Sidecar()
    leaves = becomes(sidecar, verdict=NO_LEASE, handed_over=True)
    comes = becomes(sidecar, verdict=ALLOWED, handed_over=False)
    at_s, _ = ended(sidecar, (1.5, leaves), (1.7, comes), (1.9, leaves))
    assert 1.9 <= at_s < 1.9 + SOON_S
    later_s = 1.5 + TIMEOUT_S + 1.1
    at_s, _ = ended(sidecar, (0.0, comes), (1.5, leaves), (1.7, comes), (later_s, leaves))
    assert later_s + TIMEOUT_S <= at_s < later_s + TIMEOUT_S + 2 * SOON_S


@pytest.mark.parametrize("reason", [Reason.REVOKED, Reason.SUSPENDED, Reason.EXPIRED])
@pytest.mark.parametrize("asked", [False, True])
def test_a_denial_of_the_token_itself_is_not_excused_by_a_replaced_sidecar(
    reason: Reason, asked: bool
) -> None:
    sidecar = Sidecar(handed_over=True, fresh_ms=1, asked=ALLOWED if asked else None)
    hit = {"asked" if asked else "verdict": Denied(reason)}
    at_s, why = ended(sidecar, (1.5, becomes(sidecar, **hit)))
    assert why is reason
    assert 1.5 <= at_s < 1.5 + SOON_S
