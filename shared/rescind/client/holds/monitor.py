"""The monitor, which checks every held token again whenever it may have been hit.

It checks when the sidecar notifies of a change, when a lease or a token ends, and once a second,
for changes without a notification: a machine that slept, a table that is not mapped. A check reads
memory. If memory is not enough, a request for each token goes to the sidecar, so that a missing
answer delays no other hold.

The rules for a sidecar that does not answer:

* A hold that waits for an answer ends with the lease under which it was last confirmed, regardless
  of its place in the queue: a receipt relies on that end.
* Without a mapped table, silence alone ends no hold before that moment: the sidecar may be busy.
  Meanwhile it gets requests for its clock only; requests about tokens wait for that answer.
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
from rescind.client.lease_end import LeasedVerdict
from rescind.client.sidecar_connection import NO_ANSWER, SidecarConnection
from rescind.core.times import NS_PER_S
from rescind.core.verdict import NOT_JUDGED, Allowed, CheckRequest, Denied, Reason, Verdict

_MAX_PAUSE_NS = 1_000_000_000
_MAX_PAUSE_S = 1.0
_UNNOTIFIED_PAUSE_NS = 20_000_000
_RETRY_S = 0.02
_NEXT_SUCCESSOR_S = 1.0
_PAUSE_FACTOR = 4
_REQUEST_S = 0.0001
_MAX_REQUESTS = 64


class TokenChecker(Protocol):
    """The part of a Verifier that the monitor needs."""

    def check_request(self, request: CheckRequest) -> Verdict:
        """Check a token for one call."""
        ...

    async def acheck_request(self, request: CheckRequest) -> Verdict:
        """Check a token for one call."""
        ...

    def recall_request(self, request: CheckRequest) -> Verdict | None:
        """Check a token from memory; return None if a request to the sidecar is needed."""
        ...


class HoldSchedule(Protocol):
    """The registered holds, and when the next check of all is due. Other threads change both."""

    next_check_ns: int

    def take(self, next_check_ns: int) -> Collection[Hold]:
        """Return all holds to check now, and set when the next check is due (CLOCK_BOOTTIME)."""
        ...

    def check_by(self, ns: int) -> bool:
        """Make the next check due by a time at the latest. Return True if it was due later."""
        ...

    def remove(self, hold: Hold) -> None:
        """Remove a hold."""
        ...

    def finished(self) -> bool:
        """Return True if the monitor may end, since no hold is left."""
        ...


def confirm(hold: Hold, ends_ns: tuple[int, int] | None) -> int:
    """Store the lease under which a hold was confirmed. Return when to check again.

    `ends_ns` are the ends of the lease and of the token as the table shows them; None without a
    table. All times are CLOCK_BOOTTIME in nanoseconds.
    """
    if ends_ns is not None:
        hold.table_until_ns = ends_ns[0]
        return min(ends_ns)
    now_ns = clock.boottime_ns()
    due_ns = now_ns + _MAX_PAUSE_NS
    verdict = hold.allowed
    if isinstance(verdict, LeasedVerdict):
        if verdict.leased_until_ns is not None:
            # The second half is for the answer that confirms the hold again.
            due_ns = min(
                due_ns, now_ns + max(_UNNOTIFIED_PAUSE_NS, verdict.leased_until_ns - now_ns) // 2
            )
        if verdict.token_until_ns is not None:
            due_ns = min(due_ns, verdict.token_until_ns)
    return due_ns


def _find_lease_end_ns(hold: Hold) -> int | None:
    """Return the end of the lease under which a hold was last confirmed; None if not known."""
    verdict = hold.allowed
    return (
        verdict.leased_until_ns if isinstance(verdict, LeasedVerdict) else None
    ) or hold.table_until_ns


class HoldMonitor:
    """The checks of one verifier's holds, in one event loop."""

    def __init__(
        self,
        schedule: HoldSchedule,
        checker: TokenChecker,
        connection: Callable[[], SidecarConnection],
    ) -> None:
        self._schedule = schedule
        self._checker = checker
        self._connection = connection
        self._change = asyncio.Event()
        self._request_slots = asyncio.Semaphore(_MAX_REQUESTS)
        self._requested: dict[Hold, bool] = {}
        """The holds with a request in flight; True if another check became due meanwhile."""
        self._sidecar_answers = asyncio.Event()
        self._sidecar_answers.set()
        self._probe_task: asyncio.Task[None] | None = None
        self._sidecar_silent = False
        self._successor_deadline_s = float("-inf")
        self.wake = self._change.set
        self.subscription = ChangeSubscription(lambda: connection().path, self.wake)

    async def run(self) -> None:
        """Check until no hold is left."""
        async with asyncio.TaskGroup() as tasks:
            listener = tasks.create_task(self.subscription.listen())
            while not self._schedule.finished():
                # Clear first: a change during this check then causes another one.
                self._change.clear()
                holds = self._schedule.take(clock.boottime_ns() + _MAX_PAUSE_NS)
                began_s = clock.monotonic_s()
                self._check_all(holds, tasks)
                await asyncio.sleep(self._choose_pause_s(len(holds), clock.monotonic_s() - began_s))
                if not self._sidecar_answers.is_set() and self._probe_task is None:
                    self._probe_task = tasks.create_task(self._probe())
                await self._wait(notified=self.subscription.open or not holds)
            listener.cancel()
            if self._probe_task is not None:
                self._probe_task.cancel()
            self._sidecar_answers.set()

    def _choose_pause_s(self, holds: int, took_s: float) -> float:
        """Return the pause in seconds that limits checks to a fifth of the time.

        Without a table, each hold takes a request to the sidecar, which takes time after the check.
        The pause for that ends early if a check is due, as at the end of a lease.
        """
        pause_s = min(_PAUSE_FACTOR * took_s, _MAX_PAUSE_S)
        if self._connection().table is None:
            due_s = (self._schedule.next_check_ns - clock.boottime_ns()) / NS_PER_S
            requests_s = min(_PAUSE_FACTOR * (took_s + holds * _REQUEST_S), _MAX_PAUSE_S)
            pause_s = max(pause_s, min(requests_s, due_s))
        return pause_s

    def _check_all(self, holds: Collection[Hold], tasks: asyncio.TaskGroup) -> None:
        connection, recall = self._connection(), self._checker.recall_request
        soonest_ns = clock.boottime_ns() + _MAX_PAUSE_NS
        for hold in holds:
            if hold.defer():
                continue
            if hold in self._requested:
                self._requested[hold] = True
                soonest_ns = min(soonest_ns, self._end_if_expired(hold))
                continue
            # Read the ends before the recall, so that its verdict covers the events of that lease.
            ends_ns = connection.ends_ns(hold.request.token)
            verdict = recall(hold.request)
            match verdict:
                case Allowed():
                    hold.allowed = verdict
                    if ends_ns is not None:
                        soonest_ns = min(soonest_ns, confirm(hold, ends_ns))
                case Denied(reason) if self._is_excused(reason, connection):
                    soonest_ns = min(soonest_ns, clock.boottime_ns() + _UNNOTIFIED_PAUSE_NS)
                case Denied(reason):
                    self._end(hold, reason)
                case None:
                    soonest_ns = min(soonest_ns, self._end_if_expired(hold))
                    if hold.reason is None:
                        self._requested[hold] = False
                        tasks.create_task(self._request_check(hold))
        self._schedule.check_by(soonest_ns)

    def _end_if_expired(self, hold: Hold) -> int:
        """End a hold that may no longer wait for an answer. Return when to check it again."""
        now_ns = clock.boottime_ns()
        leased_until_ns = _find_lease_end_ns(hold)
        if leased_until_ns is not None and now_ns >= leased_until_ns:
            self._end(hold, Reason.NO_LEASE)
        elif self._sidecar_silent and not self._outlasts_silence(hold, now_ns):
            self._end(hold, Reason.UNAVAILABLE)
        return min(
            confirm(hold, None),
            now_ns + _MAX_PAUSE_NS if leased_until_ns is None else leased_until_ns,
        )

    def _outlasts_silence(self, hold: Hold, now_ns: int) -> bool:
        """Return True if a hold outlasts the sidecar's silence, by the sidecar's last answer.

        A hold that another instance confirmed does not: that instance may have released its lease.
        """
        verdict, connection = hold.allowed, self._connection()
        return (
            connection.table is None
            and not connection.handed_over
            and isinstance(verdict, LeasedVerdict)
            and verdict.lease_end.instance == connection.instance
            and verdict.leased_until_ns is not None
            and now_ns < verdict.leased_until_ns
            and (verdict.token_until_ns is None or now_ns < verdict.token_until_ns)
        )

    async def _request_check(self, hold: Hold) -> None:
        """Check a hold with the sidecar; repeat if something changed meanwhile."""
        async with self._request_slots:
            await self._sidecar_answers.wait()
            # A hold that ended meanwhile is no longer in `_requested`: its answer does not count.
            while hold in self._requested:
                self._requested[hold] = False
                connection = self._connection()
                verdict = await self._checker.acheck_request(hold.request)
                if hold not in self._requested:
                    break
                if not await self._apply(hold, verdict, connection):
                    break
        self._requested.pop(hold, None)
        if hold.reason is None and self._schedule.check_by(
            confirm(hold, self._connection().ends_ns(hold.request.token))
        ):
            self._change.set()

    async def _apply(self, hold: Hold, verdict: Verdict, connection: SidecarConnection) -> bool:
        """Apply an answer to a hold. Return True if the request has to be repeated."""
        if verdict is NO_ANSWER and self._outlasts_silence(hold, clock.boottime_ns()):
            # Send no request about another hold until the sidecar has answered the probe.
            self._sidecar_answers.clear()
            self._change.set()
            return False
        if isinstance(verdict, Allowed):
            hold.allowed = verdict
            return self._requested[hold]
        if self._is_excused(verdict.reason, connection):
            await asyncio.sleep(_RETRY_S)
            return True
        self._end(hold, verdict.reason)
        if verdict is NO_ANSWER and connection.table is None and connection.handed_over:
            for other in tuple(self._requested):
                self._end(other, verdict.reason)
        return False

    async def _probe(self) -> None:
        """Wait until the sidecar answers or hangs up; then resume the requests for all holds."""
        while await self._connection().silent():
            if not self._sidecar_silent:
                self._sidecar_silent = True
                self._change.set()
            await asyncio.sleep(_RETRY_S)
        self._sidecar_silent, self._probe_task = False, None
        self._sidecar_answers.set()
        self._change.set()

    def _end(self, hold: Hold, reason: Reason) -> None:
        self._requested.pop(hold, None)
        self._schedule.remove(hold)
        hold.end(reason)

    def _is_excused(self, reason: Reason, connection: SidecarConnection) -> bool:
        """Return True if the verdict is missing because the sidecar is being replaced.

        The successor has the time of one check. The end of a lease is not excused: a receipt relies
        on it, and no work continues after it.
        """
        if reason is Reason.NO_LEASE and self._connection().freshness().fresh_for_ms:
            return True  # a lease was granted since
        if reason not in NOT_JUDGED:
            return False
        now_s = clock.monotonic_s()
        if connection.handed_over and now_s >= self._successor_deadline_s + _NEXT_SUCCESSOR_S:
            self._successor_deadline_s = connection.new_deadline_s()
        return now_s < self._successor_deadline_s

    async def _wait(self, *, notified: bool) -> None:
        left_ns = self._schedule.next_check_ns - clock.boottime_ns()
        if not notified:
            left_ns = min(left_ns, _UNNOTIFIED_PAUSE_NS)
        # Not wait_for: on Python 3.11 it loses a cancellation that arrives together with the event.
        with suppress(TimeoutError):
            async with asyncio.timeout(left_ns / NS_PER_S):
                await self._change.wait()
