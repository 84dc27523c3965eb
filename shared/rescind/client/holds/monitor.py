"""The monitor, which checks every held token again whenever it may have been hit.

It checks when the sidecar notifies of a change, when a lease or a token ends, and once a second,
for changes without a notification: a machine that slept, a table that is not mapped. A check reads
memory. If memory is not enough, the sidecar is asked about each token separately, so that a
missing answer delays no other hold.

The rules for a sidecar that does not answer:

* A hold that waits for an answer ends with the lease under which it was last confirmed, regardless
  of its place in the queue: a receipt relies on that end.
* Without a mapped table, silence alone ends no hold before that moment: the sidecar may be busy.
  Meanwhile it is asked only for its clock, and about tokens after it has answered that.
* A sidecar that closed the connection is being replaced: its lease may have been released. Its
  successor has the time of one check to answer; then all waiting holds end together.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Protocol

from rescind.client import clock
from rescind.client.holds.hold import Hold
from rescind.client.holds.subscription import ChangeSubscription
from rescind.client.horizon import Answered
from rescind.client.sidecar_session import NO_ANSWER, SidecarSession
from rescind.core.times import NS_PER_S
from rescind.core.verdict import NOT_JUDGED, Allowed, CheckRequest, Denied, Reason, Verdict

_LONGEST_NS = 1_000_000_000
_LONGEST_S = 1.0
_BLIND_NS = 20_000_000
_RETRY_S = 0.02
_PATIENT_AGAIN_S = 1.0
_RESTRAINT = 4
_ASKING_S = 0.0001
_MOST_ASKED = 64


class TokenChecker(Protocol):
    """The part of a Verifier that the monitor needs."""

    def check_request(self, request: CheckRequest) -> Verdict:
        """Check a token for one call."""
        ...

    async def acheck_request(self, request: CheckRequest) -> Verdict:
        """Check a token for one call."""
        ...

    def recall_request(self, request: CheckRequest) -> Verdict | None:
        """Check a token from memory; return None if the sidecar must be asked."""
        ...


class HoldRoll(Protocol):
    """The registered holds, and when the next check is due. Other threads change both."""

    looks_by_ns: int

    def take(self, looks_by_ns: int) -> Collection[Hold]:
        """Return all holds to check now, and set when the next check is due (CLOCK_BOOTTIME)."""
        ...

    def look_by(self, ns: int) -> bool:
        """Make the next check due by a time at the latest. Return True if it was due later."""
        ...

    def remove(self, holding: Hold) -> None:
        """Remove a hold."""
        ...

    def left(self) -> bool:
        """Return True if no hold is left."""
        ...


def confirm(holding: Hold, ends_ns: tuple[int, int] | None) -> int:
    """Store the lease under which a hold was confirmed. Return when to check again.

    `ends_ns` are the ends of the lease and of the token as the table shows them; None without a
    table. All times are CLOCK_BOOTTIME in nanoseconds.
    """
    if ends_ns is not None:
        holding.table_until_ns = ends_ns[0]
        return min(ends_ns)
    now_ns = clock.boottime_ns()
    due_ns = now_ns + _LONGEST_NS
    answered = holding.allowed
    if isinstance(answered, Answered):
        if answered.leased_until_ns is not None:
            # The second half is for the answer that confirms the hold again.
            due_ns = min(due_ns, now_ns + max(_BLIND_NS, answered.leased_until_ns - now_ns) // 2)
        if answered.token_until_ns is not None:
            due_ns = min(due_ns, answered.token_until_ns)
    return due_ns


def _leased_until_ns(holding: Hold) -> int | None:
    """Return the end of the lease under which a hold was last confirmed; None if not known."""
    answered = holding.allowed
    return (
        answered.leased_until_ns if isinstance(answered, Answered) else None
    ) or holding.table_until_ns


class HoldMonitor:
    """The checks of one verifier's holds, in one event loop."""

    def __init__(
        self, roll: HoldRoll, checker: TokenChecker, session: Callable[[], SidecarSession]
    ) -> None:
        self._roll = roll
        self._checker = checker
        self._session = session
        self._news = asyncio.Event()
        self._asking = asyncio.Semaphore(_MOST_ASKED)
        self._asked: dict[Hold, bool] = {}
        self._answering = asyncio.Event()
        self._answering.set()
        self._probing: asyncio.Task[None] | None = None
        self._silent = False
        self._vacant_until_s = float("-inf")
        self.rouse = self._news.set
        self.pushes = ChangeSubscription(lambda: session().path, self.rouse)

    async def run(self) -> None:
        """Check until no hold is left."""
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(self.pushes.listen())
            while not self._roll.left():
                # Clear first: a change during this check then causes another one.
                self._news.clear()
                holdings = self._roll.take(clock.boottime_ns() + _LONGEST_NS)
                began_s = clock.monotonic_s()
                self._look(holdings, tasks)
                await asyncio.sleep(self._rest_s(len(holdings), clock.monotonic_s() - began_s))
                if not self._answering.is_set() and self._probing is None:
                    self._probing = tasks.create_task(self._probe())
                await self._pause(told=self.pushes.open or not holdings)
            listening.cancel()
            if self._probing is not None:
                self._probing.cancel()
            self._answering.set()

    def _rest_s(self, holdings: int, took_s: float) -> float:
        """Return the pause in seconds that limits checks to a fifth of the time.

        Without a table, the sidecar is asked about each hold, which takes time after the check. The
        pause for that ends early if a check is due, as at the end of a lease.
        """
        rest_s = min(_RESTRAINT * took_s, _LONGEST_S)
        if self._session().table is None:
            due_s = (self._roll.looks_by_ns - clock.boottime_ns()) / NS_PER_S
            asking_s = min(_RESTRAINT * (took_s + holdings * _ASKING_S), _LONGEST_S)
            rest_s = max(rest_s, min(asking_s, due_s))
        return rest_s

    def _look(self, holdings: Collection[Hold], tasks: asyncio.TaskGroup) -> None:
        session, recall = self._session(), self._checker.recall_request
        soonest_ns = clock.boottime_ns() + _LONGEST_NS
        for holding in holdings:
            if holding.defer():
                continue
            if holding in self._asked:
                self._asked[holding] = True
                soonest_ns = min(soonest_ns, self._bounded(holding))
                continue
            # Read the ends before the recall, so that its verdict covers the events of that lease.
            ends_ns = session.ends_ns(holding.request.token)
            verdict = recall(holding.request)
            match verdict:
                case Allowed():
                    holding.allowed = verdict
                    if ends_ns is not None:
                        soonest_ns = min(soonest_ns, confirm(holding, ends_ns))
                case Denied(reason) if self._excused(reason, session):
                    soonest_ns = min(soonest_ns, clock.boottime_ns() + _BLIND_NS)
                case Denied(reason):
                    self._end(holding, reason)
                case None:
                    soonest_ns = min(soonest_ns, self._bounded(holding))
                    if holding.reason is None:
                        self._asked[holding] = False
                        tasks.create_task(self._ask(holding))
        self._roll.look_by(soonest_ns)

    def _bounded(self, holding: Hold) -> int:
        """End a hold that may no longer wait for an answer. Return when to check it again."""
        now_ns = clock.boottime_ns()
        leased_until_ns = _leased_until_ns(holding)
        if leased_until_ns is not None and now_ns >= leased_until_ns:
            self._end(holding, Reason.NO_LEASE)
        elif self._silent and not self._stands(holding, now_ns):
            self._end(holding, Reason.UNAVAILABLE)
        return min(
            confirm(holding, None),
            now_ns + _LONGEST_NS if leased_until_ns is None else leased_until_ns,
        )

    def _stands(self, holding: Hold, now_ns: int) -> bool:
        """Return True if a hold outlasts the sidecar's silence, by the sidecar's last answer.

        A hold that another instance confirmed does not: that instance may have released its lease.
        """
        answered, session = holding.allowed, self._session()
        return (
            session.table is None
            and not session.handed_over
            and isinstance(answered, Answered)
            and answered.horizon.instance == session.instance
            and answered.leased_until_ns is not None
            and now_ns < answered.leased_until_ns
            and (answered.token_until_ns is None or now_ns < answered.token_until_ns)
        )

    async def _ask(self, holding: Hold) -> None:
        """Check a hold with the sidecar; repeat if something changed meanwhile."""
        async with self._asking:
            await self._answering.wait()
            # A hold that was ended meanwhile is no longer in `_asked`: its answer does not count.
            while holding in self._asked:
                self._asked[holding] = False
                session = self._session()
                verdict = await self._checker.acheck_request(holding.request)
                if holding not in self._asked:
                    break
                if not await self._again(holding, verdict, session):
                    break
        self._asked.pop(holding, None)
        if holding.reason is None and self._roll.look_by(
            confirm(holding, self._session().ends_ns(holding.request.token))
        ):
            self._news.set()

    async def _again(self, holding: Hold, verdict: Verdict, session: SidecarSession) -> bool:
        """Apply an answer to a hold. Return True if the request has to be repeated."""
        if verdict is NO_ANSWER and self._stands(holding, clock.boottime_ns()):
            # Ask about no other hold until the sidecar has answered the probe.
            self._answering.clear()
            self._news.set()
            return False
        if isinstance(verdict, Allowed):
            holding.allowed = verdict
            return self._asked[holding]
        if self._excused(verdict.reason, session):
            await asyncio.sleep(_RETRY_S)
            return True
        self._end(holding, verdict.reason)
        if verdict is NO_ANSWER and session.table is None and session.handed_over:
            for other in tuple(self._asked):
                self._end(other, verdict.reason)
        return False

    async def _probe(self) -> None:
        """Wait until the sidecar answers or hangs up; then resume the requests for all holds."""
        while await self._session().silent():
            if not self._silent:
                self._silent = True
                self._news.set()
            await asyncio.sleep(_RETRY_S)
        self._silent, self._probing = False, None
        self._answering.set()
        self._news.set()

    def _end(self, holding: Hold, reason: Reason) -> None:
        self._asked.pop(holding, None)
        self._roll.remove(holding)
        holding.hit(reason)

    def _excused(self, reason: Reason, session: SidecarSession) -> bool:
        """Return True if the verdict is missing because the sidecar is being replaced.

        The successor has the time of one check. The end of a lease is not excused: a receipt relies
        on it, and no work continues after it.
        """
        if reason is Reason.NO_LEASE and self._session().freshness().fresh_for_ms:
            return True  # a lease was granted since
        if reason not in NOT_JUDGED:
            return False
        now_s = clock.monotonic_s()
        if session.handed_over and now_s >= self._vacant_until_s + _PATIENT_AGAIN_S:
            self._vacant_until_s = session.deadline_s()
        return now_s < self._vacant_until_s

    async def _pause(self, *, told: bool) -> None:
        left_ns = self._roll.looks_by_ns - clock.boottime_ns()
        if not told:
            left_ns = min(left_ns, _BLIND_NS)
        # Not wait_for: on Python 3.11 it loses a cancellation that arrives together with the event.
        with suppress(TimeoutError):
            async with asyncio.timeout(left_ns / NS_PER_S):
                await self._news.wait()
