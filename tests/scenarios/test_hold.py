"""Work that outlasts the check, on the whole system: a kill at the authority ends it at once."""

import asyncio
import statistics
from datetime import UTC, datetime

from tests.scenarios.conftest import System
from tests.support.outcomes import soon

from rescind import DeniedError, Reason, Verifier

ROUNDS = 20


class Call:
    """A tool call of an agent, at one service, that would never end by itself."""

    def __init__(self, verifier: Verifier, token: str) -> None:
        self._verifier = verifier
        self._token = token
        self.began = asyncio.Event()

    async def run(self) -> datetime:
        """Say when it was cancelled."""
        try:
            async with self._verifier.hold(self._token):
                self.began.set()
                await asyncio.Event().wait()
        except DeniedError as denied:
            assert denied.reason == Reason.REVOKED  # noqa: PT017 one try is the whole call
        return datetime.now(UTC)


async def test_a_kill_cancels_the_calls_of_an_agent_at_every_service_and_no_other(
    system: System, verifiers: list[Verifier]
) -> None:
    bystander = system.issue("agent:bystander")["token"]
    after_ms: list[float] = []
    async with asyncio.TaskGroup() as tasks:
        others = [tasks.create_task(Call(each, bystander).run()) for each in verifiers]
        with system.admin() as admin:
            for number in range(ROUNDS):
                subject = f"agent:caller-{number}"
                issued = admin.issue(subject=subject, kind="agent")
                assert issued.token is not None
                calls = [Call(verifier, issued.token.reveal()) for verifier in verifiers]
                running = [tasks.create_task(call.run()) for call in calls]
                for call in calls:
                    await call.began.wait()
                killed = await asyncio.to_thread(admin.kill, subject)
                committed_at = datetime.fromisoformat(killed["committed_at"])
                ended_at = [await task for task in running]
                after_ms.extend((at - committed_at).total_seconds() * 1_000 for at in ended_at)
        assert not any(task.done() for task in others)
        for task in others:
            task.cancel()
    # A few milliseconds; the machines that run this are shared. After a second everything is looked
    # at anyway: that must not be what did it.
    soon(statistics.median(after_ms) / 1_000, at_most_s=0.5)
