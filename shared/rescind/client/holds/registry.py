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
from rescind.client.sidecar_session import SidecarSession
from rescind.core.verdict import CheckRequest, Reason, Verdict

_LINGER_S = 10.0


class HoldRegistry:
    """The holds of all threads and event loops of a process."""

    def __init__(self, checker: TokenChecker, session: Callable[[], SidecarSession]) -> None:
        self._checker = checker
        self._session = session
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.looks_by_ns = 0
        self._lock = threading.Lock()
        self._holdings: set[Hold] = set()
        self._thread: threading.Thread | None = None
        self._lookout: HoldMonitor | None = None
        self._wake: Callable[[], object] | None = None
        self._closing = False
        self._idle_since_s: float | None = None

    # For holds, from any thread ---------------------------------------------------------------

    def judge(self, request: CheckRequest) -> Verdict:
        """Check a request now, blocking this thread."""
        return self._checker.check_request(request)

    async def ajudge(self, request: CheckRequest) -> Verdict:
        """Check a request now."""
        return await self._checker.acheck_request(request)

    def add(self, holding: Hold) -> None:
        """Register a hold."""
        with self._lock:
            if self._thread is None:
                self._closing = False
                self.looks_by_ns = 0  # the thread begins with a check of all holds
                thread = threading.Thread(target=self._live, name="rescind", daemon=True)
                thread.start()
                self._thread = thread  # only now: a thread that could not start checks no hold
            self._holdings.add(holding)

    def admitted(self, holding: Hold) -> None:
        """Check again when the lease or the token ends, or now if a check was deferred."""
        due_ns = confirm(holding, self._session().ends_ns(holding.request.token))
        if self.look_by(due_ns) or holding.passed_by:
            self._rouse()

    def remove(self, holding: Hold) -> None:
        """Remove a hold.

        Does not acquire the lock: the garbage collector may end an abandoned generator, and its
        hold, at any moment, even in a thread that has the lock.
        """
        self._holdings.discard(holding)

    def close(self) -> None:
        """End the thread. Held work ends too, since no thread checks it any more."""
        self._closing = True
        self._rouse()

    def _rouse(self) -> None:
        with self._lock, suppress(RuntimeError):  # the loop has ended, and the thread is ending
            if self._wake is not None:
                self._wake()

    def forked(self, *, same_clock: bool) -> None:
        """Keep, in a forked child, the holds of its only thread; the other threads do not exist.

        Coroutines do not exist either: a child cannot continue its parent's event loop. If the
        child's clock differs, the known end of a lease is discarded. With a silent sidecar, the
        work then ends too early, but never too late.
        """
        holdings, lookout = self._holdings, self._lookout
        self._begin_anew()
        if lookout is not None:
            lookout.pushes.let_go()
        for holding in holdings:
            if holding.thread == threading.get_ident():
                if not same_clock:
                    holding.allowed = holding.table_until_ns = None
                self.add(holding)

    # For the monitor, in the thread ------------------------------------------------------------

    def take(self, looks_by_ns: int) -> Collection[Hold]:
        """Return all holds to check now, and set when the next check is due (CLOCK_BOOTTIME)."""
        with self._lock:
            self.looks_by_ns = looks_by_ns
            return self._holdings.copy()  # atomic: `remove`, which has no lock, cannot interfere

    def look_by(self, ns: int) -> bool:
        """Make the next check due by a time at the latest. Return True if it was due later."""
        with self._lock:
            earlier = ns < self.looks_by_ns
            self.looks_by_ns = min(self.looks_by_ns, ns)
            return earlier

    def left(self) -> bool:
        """Return True if the thread may end: it was closed, or had no hold for a while.

        A hold that is added later starts another thread.
        """
        with self._lock:
            if self._closing:
                return True
            if self._holdings:
                self._idle_since_s = None
                return False
            now_s = clock.monotonic_s()
            self._idle_since_s = self._idle_since_s or now_s
            if now_s - self._idle_since_s < _LINGER_S:
                return False
            self._thread = self._wake = self._lookout = self._idle_since_s = None
            return True

    def _live(self) -> None:
        try:
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._look_out())
        finally:
            # The thread was closed or failed: no hold may continue unchecked.
            self._abandon()

    async def _look_out(self) -> None:
        loop = asyncio.get_running_loop()
        lookout = HoldMonitor(self, self._checker, self._session)
        with self._lock:
            self._lookout = lookout
            self._wake = lambda: loop.call_soon_threadsafe(lookout.rouse)
        await lookout.run()

    def _abandon(self) -> None:
        with self._lock:
            if self._thread is not threading.current_thread():
                return  # this thread ended without holds, and another may have started
            left, self._holdings = self._holdings, set()
            self._thread = self._wake = self._lookout = None
        for holding in left:
            holding.hit(Reason.UNAVAILABLE)
