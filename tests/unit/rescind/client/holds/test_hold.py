"""A hold ends its own body, for its own reason, and swallows no other cancellation."""

# ruff: noqa: PT012 - a whole block is what is tested

import asyncio
import threading

import pytest

from rescind import DeniedError, Reason, Record, Verdict
from rescind.client.holds.hold import Hold, HoldSupervisor
from rescind.core.verdict import CheckRequest
from rescind.testing import FakeVerifier
from rescind.testing.verifier import Issued


@pytest.fixture
def verifier() -> FakeVerifier:
    return FakeVerifier()


@pytest.fixture
def issued(verifier: FakeVerifier) -> Issued:
    return verifier.issue(subject="agent:x", scopes={"a", "b"})


async def for_ever() -> None:
    await asyncio.Event().wait()


def soon(verifier: FakeVerifier, *selector: str) -> None:
    """Revoke once all tasks wait."""
    asyncio.get_running_loop().call_later(0.01, verifier.revoke, *selector)


def no_cancellation_is_pending() -> bool:
    task = asyncio.current_task()
    assert task is not None
    return not task.cancelling()


async def test_a_hit_ends_a_body_that_waits_and_the_block_raises_the_reason(
    verifier: FakeVerifier, issued: Issued
) -> None:
    soon(verifier, "subject:agent:x")
    hold = verifier.hold(issued.token)
    with pytest.raises(DeniedError, match="revoked"):
        async with hold as record:
            assert record.subject == "agent:x"
            await for_ever()
    assert hold.reason is Reason.REVOKED
    assert no_cancellation_is_pending()
    await asyncio.sleep(0)  # what comes after the block is not cancelled


@pytest.mark.parametrize("reason", [Reason.SUSPENDED, Reason.EXPIRED, Reason.NO_LEASE])
async def test_whatever_denies_a_check_ends_the_work(
    verifier: FakeVerifier, issued: Issued, reason: Reason
) -> None:
    with pytest.raises(DeniedError) as denied:
        async with verifier.hold(issued.token):
            match reason:
                case Reason.SUSPENDED:
                    verifier.suspend("subject:agent:x")
                case Reason.EXPIRED:
                    verifier.advance(3_600)
                case _:
                    verifier.leased = False
            await for_ever()
    assert denied.value.reason == reason


async def test_a_hit_spares_work_under_another_token(
    verifier: FakeVerifier, issued: Issued
) -> None:
    other = verifier.issue(subject="agent:y")
    async with verifier.hold(other.token):
        verifier.revoke("subject:agent:x")
        await asyncio.sleep(0.01)
    assert no_cancellation_is_pending()


async def test_a_hit_after_the_body_has_no_effect(verifier: FakeVerifier, issued: Issued) -> None:
    async with verifier.hold(issued.token):
        verifier.revoke("subject:agent:x")  # no await follows: the body is over before it knows
    await asyncio.sleep(0.01)
    assert no_cancellation_is_pending()
    async with verifier.hold(verifier.issue(subject="agent:y").token):
        pass
    verifier.revoke("subject:agent:y")
    await asyncio.sleep(0.01)


async def test_an_exception_of_the_body_is_never_replaced(
    verifier: FakeVerifier, issued: Issued
) -> None:
    with pytest.raises(KeyError, match="from the body"):
        async with verifier.hold(issued.token):
            verifier.revoke("subject:agent:x")
            try:
                await for_ever()
            finally:
                raise KeyError("from the body")
    assert no_cancellation_is_pending()


async def test_a_body_that_swallows_the_cancellation_is_denied_all_the_same(
    verifier: FakeVerifier, issued: Issued
) -> None:
    with pytest.raises(DeniedError):
        async with verifier.hold(issued.token):
            verifier.revoke("subject:agent:x")
            try:  # noqa: SIM105 that is what such a body looks like
                await for_ever()
            except asyncio.CancelledError:
                pass
    assert no_cancellation_is_pending()


@pytest.mark.parametrize("hit_too", [False, True])
async def test_a_cancellation_from_outside_propagates_even_beside_a_hit(
    verifier: FakeVerifier, issued: Issued, hit_too: bool
) -> None:
    began = asyncio.Event()

    async def work() -> None:
        async with verifier.hold(issued.token):
            began.set()
            await for_ever()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work())
        await began.wait()
        if hit_too:
            verifier.revoke("subject:agent:x")
        task.cancel()
    assert task.cancelled()


async def test_timeouts_around_and_inside_a_hold_work_as_usual(
    verifier: FakeVerifier, issued: Issued
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), verifier.hold(issued.token):
            await for_ever()
    async with verifier.hold(issued.token):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await for_ever()
    soon(verifier, "subject:agent:x")
    with pytest.raises(DeniedError):
        async with asyncio.timeout(10), verifier.hold(issued.token):
            async with asyncio.timeout(10):
                await for_ever()
    assert no_cancellation_is_pending()


async def test_the_nested_hold_that_is_hit_raises(verifier: FakeVerifier, issued: Issued) -> None:
    inner = verifier.issue(subject="agent:inner")
    async with verifier.hold(issued.token):
        with pytest.raises(DeniedError):
            async with verifier.hold(inner.token):
                verifier.revoke("subject:agent:inner")
                await for_ever()
        await asyncio.sleep(0)  # the outer body goes on
    inner = verifier.issue(subject="agent:inner")
    passed = False
    with pytest.raises(DeniedError):
        async with verifier.hold(issued.token):
            try:
                async with verifier.hold(inner.token):
                    verifier.revoke("subject:agent:x")
                    await for_ever()
            except asyncio.CancelledError:
                passed = True
                raise
    assert passed
    assert no_cancellation_is_pending()


async def test_when_one_event_hits_all_nested_holds_the_outermost_raises(
    verifier: FakeVerifier, issued: Issued
) -> None:
    with pytest.raises(DeniedError):
        async with verifier.hold(issued.token), verifier.hold(issued.token):
            verifier.revoke("subject:agent:x")
            await for_ever()
    assert no_cancellation_is_pending()


async def test_every_task_under_one_token_is_ended(verifier: FakeVerifier, issued: Issued) -> None:
    async def work() -> str:
        try:
            async with verifier.hold(issued.token):
                await for_ever()
        except DeniedError as denied:
            return denied.reason
        return ""

    async with asyncio.TaskGroup() as tasks:
        works = [tasks.create_task(work()) for _ in range(3)]
        soon(verifier, "subject:agent:x")
    assert [each.result() for each in works] == [Reason.REVOKED] * 3


async def test_a_task_group_inside_a_hold_ends_with_it(
    verifier: FakeVerifier, issued: Issued
) -> None:
    soon(verifier, "subject:agent:x")
    with pytest.raises(DeniedError):
        async with verifier.hold(issued.token), asyncio.TaskGroup() as tasks:
            works = [tasks.create_task(for_ever()) for _ in range(3)]
    assert all(each.cancelled() for each in works)
    assert no_cancellation_is_pending()


async def test_in_a_task_group_a_denial_is_an_ordinary_error(
    verifier: FakeVerifier, issued: Issued
) -> None:
    async def work() -> None:
        async with verifier.hold(issued.token):
            await for_ever()

    soon(verifier, "subject:agent:x")
    with pytest.raises(ExceptionGroup) as errors:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(work())
            other = tasks.create_task(for_ever())
    assert errors.group_contains(DeniedError)
    assert other.cancelled()


async def test_a_denied_token_starts_no_work(verifier: FakeVerifier, issued: Issued) -> None:
    hold = verifier.hold(issued.token, require={"c"})
    with pytest.raises(DeniedError) as denied:
        async with hold:
            pytest.fail("the body ran")
    assert denied.value.reason == hold.reason == Reason.INSUFFICIENT_SCOPE
    verifier.revoke("subject:agent:x")  # no hold is registered
    await asyncio.sleep(0.01)
    assert no_cancellation_is_pending()


async def test_a_hold_covers_one_block(verifier: FakeVerifier, issued: Issued) -> None:
    hold = verifier.hold(issued.token)
    async with hold:
        with pytest.raises(RuntimeError, match="one block"), hold:
            pytest.fail("the body ran")
    with pytest.raises(RuntimeError, match="one block"):
        async with hold:
            pytest.fail("the body ran")


class Slow:
    """A keeper whose judgement takes so long that the token is hit before it is told."""

    def __init__(self, supervisor: HoldSupervisor, hit: Reason) -> None:
        self._supervisor = supervisor
        self._hit = hit
        self.holds: set[Hold] = set()

    def check_request(self, request: CheckRequest) -> Verdict:
        verdict = self._supervisor.check_request(request)
        for hold in self.holds:  # the hit comes now, to each registered hold
            hold.end(self._hit)
        return verdict

    async def acheck_request(self, request: CheckRequest) -> Verdict:
        return self.check_request(request)

    def add(self, hold: Hold) -> None:
        self.holds.add(hold)

    def schedule(self, hold: Hold) -> None:
        pass

    def remove(self, hold: Hold) -> None:
        self.holds.discard(hold)


class CheckedFirst(Hold):
    """The wrong order, which loses what comes between the two."""

    async def __aenter__(self) -> Record:
        record = self._require_record(await self._supervisor.acheck_request(self.request))
        self._supervisor.add(self)
        self._task = asyncio.current_task()
        return record


@pytest.mark.parametrize(("order", "lost"), [(Hold, False), (CheckedFirst, True)])
async def test_a_hit_between_the_registration_and_the_check_is_not_lost(
    verifier: FakeVerifier, issued: Issued, order: type[Hold], lost: bool
) -> None:
    supervisor = Slow(verifier._supervisor, Reason.REVOKED)
    hold = order(supervisor, CheckRequest(issued.token))
    try:
        async with hold:
            await asyncio.sleep(0.01)
            assert lost
    except DeniedError:
        assert not lost
    assert not supervisor.holds
    if not lost:
        with pytest.raises(DeniedError), Hold(supervisor, hold.request):
            pytest.fail("the body ran")


def test_a_thread_is_notified_and_may_continue(verifier: FakeVerifier, issued: Issued) -> None:
    steps: list[str] = []
    began = threading.Event()

    def work() -> None:
        with verifier.hold(issued.token) as held:
            began.set()
            steps.append(held.record.subject)
            assert held.revoked.wait(10)
            steps.append(held.reason or "")
            steps.append("tidied up")

    thread = threading.Thread(target=work)
    thread.start()
    assert began.wait(10)
    verifier.revoke("subject:agent:x")
    thread.join(10)
    assert steps == ["agent:x", "revoked", "tidied up"]


def test_an_action_is_called_when_a_thread_is_notified_or_at_once_after_that(
    verifier: FakeVerifier, issued: Issued
) -> None:
    called: list[str] = []
    with verifier.hold(issued.token) as held:
        held.call_when_denied(lambda: called.append("replaced"))
        held.call_when_denied(lambda: called.append("first"))
        assert called == []
        verifier.revoke("subject:agent:x")
        assert called == ["first"]
        held.call_when_denied(lambda: called.append("late"))
        assert called == ["first", "late"]


def test_a_hit_on_a_closed_event_loop_raises_nothing(
    verifier: FakeVerifier, issued: Issued
) -> None:
    async def begin() -> Hold:
        hold = verifier.hold(issued.token)
        await hold.__aenter__()
        return hold

    hold = asyncio.run(begin())
    verifier.revoke("subject:agent:x")
    assert hold.reason is Reason.REVOKED


def test_the_repr_of_a_check_request_does_not_show_its_token(issued: Issued) -> None:
    assert issued.token not in repr(CheckRequest(issued.token))
