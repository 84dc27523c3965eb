"""A verifier is attached once, also if many threads ask for it, and again after a failure."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.eventually import eventually_blocking

from rescind import UnreachableError, Verifier
from rescind.integrations.attachment import Attachment
from rescind.testing import FakeVerifier


def test_threads_that_call_at_the_same_time_share_one_verifier(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attached: list[FakeVerifier] = []
    called = threading.Barrier(8)

    def attach() -> FakeVerifier:
        attached.append(FakeVerifier())
        return attached[-1]

    def ask() -> object:
        called.wait()
        return attachment.attach()

    monkeypatch.setattr(Verifier, "attach", attach)
    attachment = Attachment(None)
    with ThreadPoolExecutor(8) as threads:
        answers = [each.result() for each in [threads.submit(ask) for _ in range(8)]]
    assert answers == attached * 8
    attachment.close()
    assert attached[0].closed


def test_threads_that_waited_for_a_failed_attempt_do_not_repeat_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempts: list[int] = []
    may_fail = threading.Event()

    def attach() -> FakeVerifier:
        attempts.append(1)
        may_fail.wait(10)
        raise UnreachableError("there is no sidecar")

    def ask() -> None:
        waiting.append(1)
        with pytest.raises(UnreachableError):
            attachment.attach()

    monkeypatch.setattr(Verifier, "attach", attach)
    attachment, waiting = Attachment(None), list[int]()
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(ask) for _ in range(4)]
        eventually_blocking(lambda: len(waiting) == 4)
        may_fail.set()
        for each in asked:
            each.result()
    first = len(attempts)
    assert first < 4, "those that began to wait before the failure share it"
    ask()
    assert len(attempts) == first + 1


def test_event_loops_of_several_threads_share_one_verifier(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a synchronous project of Django with asynchronous views."""
    attached: list[FakeVerifier] = []
    called = threading.Barrier(4)

    def attach() -> FakeVerifier:
        attached.append(FakeVerifier())
        return attached[-1]

    async def ask() -> list[object]:
        called.wait()
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(attachment.verifier()) for _ in range(4)]
        return [each.result() for each in asked]

    monkeypatch.setattr(Verifier, "attach", attach)
    attachment = Attachment(None)
    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(asyncio.run, ask()) for _ in range(4)]
        answers = [answer for each in running for answer in each.result()]
    assert answers == attached * 16


async def test_calls_that_waited_for_a_failed_attempt_do_not_repeat_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempts: list[int] = []

    def attach() -> FakeVerifier:
        attempts.append(1)
        called.wait(10)
        raise UnreachableError("there is no sidecar")

    async def ask() -> None:
        with pytest.raises(UnreachableError):
            await attachment.verifier()

    monkeypatch.setattr(Verifier, "attach", attach)
    attachment, called = Attachment(None), threading.Event()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(100):
            tasks.create_task(ask())
        await asyncio.sleep(0)
        called.set()
    assert len(attempts) == 1


async def test_a_verifier_that_was_passed_is_used_and_stays_open() -> None:
    given = FakeVerifier()
    attachment = Attachment(given)
    assert await attachment.verifier() is attachment.attach() is given
    assert Attachment.of(attachment) is attachment
    attachment.close()
    assert not given.closed
