"""A thread is interrupted in its work when its hold ends, once, and never after the work."""

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from rescind import DeniedError, Reason
from rescind.client.holds.hold import ThreadHold
from rescind.client.holds.interruption import Interrupted, run_interruptibly
from rescind.testing import FakeVerifier

LONG_S = 30


@pytest.fixture
def held() -> ThreadHold:
    verifier = FakeVerifier()
    with verifier.hold(verifier.issue().token) as held:
        return held


def ended_by_another_thread(held: ThreadHold, work: Callable[[], object]) -> Callable[[], object]:
    """Return work that another thread ends once it has begun."""

    def begin() -> object:
        ending = threading.Thread(target=held.end, args=(Reason.REVOKED,))
        ending.start()
        return work()

    return begin


def steps() -> None:
    ends_s = time.monotonic() + LONG_S
    while time.monotonic() < ends_s:
        pass
    raise AssertionError("the work was not interrupted")


def in_thread(work: Callable[[], object]) -> object:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def here(work: Callable[[], object]) -> object:
    return work()


everywhere = pytest.mark.parametrize("run", [here, in_thread])


@everywhere
def test_work_that_is_done_in_time_returns_its_result(
    held: ThreadHold, run: Callable[[Callable[[], object]], object]
) -> None:
    assert run(lambda: run_interruptibly(held, lambda: 1)) == 1


@everywhere
def test_work_is_interrupted_where_it_stands(
    held: ThreadHold, run: Callable[[Callable[[], object]], object]
) -> None:
    work = ended_by_another_thread(held, steps)
    with pytest.raises(DeniedError) as denied:
        run(lambda: run_interruptibly(held, work))
    assert denied.value.reason is Reason.REVOKED


def test_a_call_that_blocks_the_main_thread_is_interrupted(held: ThreadHold) -> None:
    began_s = time.monotonic()
    work = ended_by_another_thread(held, lambda: time.sleep(LONG_S))
    with pytest.raises(DeniedError):
        run_interruptibly(held, work)
    assert time.monotonic() - began_s < LONG_S


@everywhere
def test_work_whose_hold_has_ended_already_does_not_succeed(
    held: ThreadHold, run: Callable[[Callable[[], object]], object]
) -> None:
    held.end(Reason.SUSPENDED)
    with pytest.raises(DeniedError) as denied:
        run(lambda: run_interruptibly(held, lambda: 1))
    assert denied.value.reason is Reason.SUSPENDED


@everywhere
def test_work_that_catches_the_interruption_is_interrupted_once_and_still_denied(
    held: ThreadHold, run: Callable[[Callable[[], object]], object]
) -> None:
    cleaned: list[bool] = []

    def stubborn() -> None:
        try:
            ended_by_another_thread(held, steps)()
        except Interrupted:
            held.end(Reason.REVOKED)
            cleaned.append(True)

    with pytest.raises(DeniedError):
        run(lambda: run_interruptibly(held, stubborn))
    assert cleaned == [True]


@everywhere
def test_an_error_of_the_work_passes(
    held: ThreadHold, run: Callable[[Callable[[], object]], object]
) -> None:
    def fail() -> None:
        raise KeyError("its own")

    with pytest.raises(KeyError, match="its own"):
        run(lambda: run_interruptibly(held, fail))


@everywhere
def test_after_the_work_its_thread_is_not_interrupted(
    held: ThreadHold, run: Callable[[Callable[[], object]], object]
) -> None:
    def reuse() -> str:
        run_interruptibly(held, lambda: None)
        held.end(Reason.REVOKED)
        return "not interrupted"

    assert run(reuse) == "not interrupted"


def test_a_hold_that_ends_as_the_work_does_never_interrupts_what_comes_after() -> None:
    verifier = FakeVerifier()
    for _ in range(200):
        with verifier.hold(verifier.issue().token) as held:
            ending = threading.Thread(target=held.end, args=(Reason.REVOKED,))
            try:
                run_interruptibly(held, ending.start)
            except DeniedError:
                assert held.revoked.is_set()
        ending.join()


def test_a_former_handler_of_the_signal_still_works_and_is_restored(held: ThreadHold) -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: received.append(number))
    try:
        former = signal.getsignal(signal.SIGUSR1)
        run_interruptibly(held, lambda: signal.raise_signal(signal.SIGUSR1))
        assert received == [signal.SIGUSR1]
        assert signal.getsignal(signal.SIGUSR1) is former
    finally:
        signal.signal(signal.SIGUSR1, before)
