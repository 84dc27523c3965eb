"""The thread for all holds of a verifier. It starts with the first hold, and outlives the last.

It checks the holds of this process only: a forked child starts its own.
"""

import asyncio
import threading
from collections.abc import Callable, Collection
from contextlib import suppress

from rescind.client import clock
from rescind.client.holds.hold import Hold
from rescind.client.holds.monitor import HoldMonitor, TokenChecker, confirm
from rescind.client.sidecar_connection import SidecarConnection
from rescind.core.verdict import CheckRequest, Reason, Verdict

_IDLE_S = 10.0


class HoldRegistry:
    """The holds of all threads and event loops of a process."""

    def __init__(self, checker: TokenChecker, connection: Callable[[], SidecarConnection]) -> None:
        self._checker = checker
        self._connection = connection
        self._reset()

    def _reset(self) -> None:
        self.next_check_ns = 0
        self._lock = threading.Lock()
        self._registered: set[Hold] = set()
        self._thread: threading.Thread | None = None
        self._monitor: HoldMonitor | None = None
        self._wake: Callable[[], object] | None = None
        self._closing = False
        self._idle_since_s: float | None = None

    # For holds, from any thread ---------------------------------------------------------------

    def check_request(self, request: CheckRequest) -> Verdict:
        """Check a request now, blocking this thread."""
        return self._checker.check_request(request)

    async def acheck_request(self, request: CheckRequest) -> Verdict:
        """Check a request now."""
        return await self._checker.acheck_request(request)

    def add(self, hold: Hold) -> None:
        """Register a hold."""
        with self._lock:
            if self._thread is None:
                self._closing = False
                self.next_check_ns = 0  # the thread begins with a check of all holds
                thread = threading.Thread(target=self._run_thread, name="rescind", daemon=True)
                thread.start()
                self._thread = thread  # only now: a thread that could not start checks no hold
            self._registered.add(hold)

    def schedule(self, hold: Hold) -> None:
        """Check again when the lease or the token ends, or now if a check was deferred."""
        due_ns = confirm(hold, self._connection().ends_ns(hold.request.token))
        if self.check_by(due_ns) or hold.check_deferred:
            self._wake_monitor()

    def remove(self, hold: Hold) -> None:
        """Remove a hold.

        Does not acquire the lock: the garbage collector may end an abandoned generator, and its
        hold, at any moment, even in a thread that has the lock.
        """
        self._registered.discard(hold)

    def close(self) -> None:
        """End the thread. Held work ends too, since no thread checks it any more."""
        self._closing = True
        self._wake_monitor()

    def _wake_monitor(self) -> None:
        with self._lock, suppress(RuntimeError):  # the loop has ended, and the thread is ending
            if self._wake is not None:
                self._wake()

    def forked(self, *, same_clock: bool) -> None:
        """Keep, in a forked child, the holds of its only thread; the other threads do not exist.

        Coroutines do not exist either: a child cannot continue its parent's event loop. If the
        child's clock differs, the known end of a lease is discarded. With a silent sidecar, the
        work then ends too early, but never too late.
        """
        holds, monitor = self._registered, self._monitor
        self._reset()
        if monitor is not None:
            monitor.subscription.close_inherited()
        for hold in holds:
            if hold.thread == threading.get_ident():
                if not same_clock:
                    hold.allowed = hold.table_until_ns = None
                self.add(hold)

    # For the monitor, in the thread ------------------------------------------------------------

    def take(self, next_check_ns: int) -> Collection[Hold]:
        """Return all holds to check now, and set when the next check is due (CLOCK_BOOTTIME)."""
        with self._lock:
            self.next_check_ns = next_check_ns
            return self._registered.copy()  # atomic: `remove`, which has no lock, cannot interfere

    def check_by(self, ns: int) -> bool:
        """Make the next check due by a time at the latest. Return True if it was due later."""
        with self._lock:
            earlier = ns < self.next_check_ns
            self.next_check_ns = min(self.next_check_ns, ns)
            return earlier

    def finished(self) -> bool:
        """Return True if the thread may end: it was closed, or had no hold for a while.

        A hold that is added later starts another thread.
        """
        with self._lock:
            if self._closing:
                return True
            if self._registered:
                self._idle_since_s = None
                return False
            now_s = clock.monotonic_s()
            self._idle_since_s = self._idle_since_s or now_s
            if now_s - self._idle_since_s < _IDLE_S:
                return False
            self._thread = self._wake = self._monitor = self._idle_since_s = None
            return True

    def _run_thread(self) -> None:
        try:
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._run_monitor())
        finally:
            # The thread was closed or failed: no hold may continue unchecked.
            self._end_all()

    async def _run_monitor(self) -> None:
        loop = asyncio.get_running_loop()
        monitor = HoldMonitor(self, self._checker, self._connection)
        with self._lock:
            self._monitor = monitor
            self._wake = lambda: loop.call_soon_threadsafe(monitor.wake)
        await monitor.run()

    def _end_all(self) -> None:
        with self._lock:
            if self._thread is not threading.current_thread():
                return  # this thread ended without holds, and another may have started
            holds, self._registered = self._registered, set()
            self._thread = self._wake = self._monitor = None
        for hold in holds:
            hold.end(Reason.UNAVAILABLE)
