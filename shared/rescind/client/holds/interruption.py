"""The interruption of a thread, where it stands, when its hold ends.

The rules of this file:

* An exception is raised in the thread, at most once: it must not break off the cleanup as well.
* It is raised in the work alone. After the work, the thread belongs to its pool, and to other work.
* If it was raised, the work counts as interrupted, even if the work caught it or was just done.
"""

import ctypes
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

from rescind.client.holds.hold import ThreadHold
from rescind.core.verdict import Reason
from rescind.errors import DeniedError

_SIGNAL = signal.SIGUSR1
_POLL_S = 0.01
_Result = TypeVar("_Result")


class Interrupted(BaseException):
    """Raised in work whose token is denied. Like CancelledError, `except Exception` misses it."""


def run_interruptibly(held: ThreadHold, work: Callable[[], _Result]) -> _Result:
    """Return the result of work in this thread. Raises DeniedError as soon as the hold ends.

    In the main thread, a signal (SIGUSR1) also interrupts a call that blocks, such as a sleep. A
    former handler of the signal still works, such as that of a soft time limit. In another thread,
    such a call first returns.
    """
    if threading.current_thread() is threading.main_thread():
        return _run_in_main_thread(held, work)
    ident = ctypes.c_ulong(threading.get_ident())
    set_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
    interruption = _Interruption(lambda: set_exception(ident, ctypes.py_object(Interrupted)))
    try:
        return interruption.run(held, work)
    finally:
        set_exception(ident, None)  # an exception that is not raised yet


def _run_in_main_thread(held: ThreadHold, work: Callable[[], _Result]) -> _Result:
    main, raised = threading.get_ident(), False
    interruption = _Interruption(lambda: signal.pthread_kill(main, _SIGNAL))

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal raised
        if interruption.fired and not raised:
            raised = True
            raise Interrupted
        if callable(former):
            former(number, frame)

    former = signal.signal(_SIGNAL, handle)
    try:
        return interruption.run(held, work)
    finally:
        while interruption.fired and not raised:
            _await_signal()
        signal.signal(_SIGNAL, former)


def _await_signal() -> None:
    try:
        time.sleep(_POLL_S)
    except Interrupted:
        return


class _Interruption:
    """At most one exception in the thread of the work, while the work runs."""

    def __init__(self, raise_in_thread: Callable[[], object]) -> None:
        self.fired = False
        self._armed = True
        self._lock = threading.Lock()
        self._raise_in_thread = raise_in_thread

    def run(self, held: ThreadHold, work: Callable[[], _Result]) -> _Result:
        """Return the result of work in this thread. Raises DeniedError if it was interrupted."""
        try:
            try:
                held.call_when_denied(self._fire)
                result = work()
            finally:
                self._disarm()
        except Interrupted:
            raise DeniedError(held.reason or Reason.UNAVAILABLE) from None
        if self.fired:
            raise DeniedError(held.reason or Reason.UNAVAILABLE)
        return result

    def _fire(self) -> None:
        # The thread may be interrupted inside `_disarm`, and leave the lock acquired. That is
        # after `fired` was set, so that no later call waits for the lock.
        if self.fired:
            return
        with self._lock:
            if self._armed and not self.fired:
                self.fired = True
                self._raise_in_thread()

    def _disarm(self) -> None:
        with self._lock:
            self._armed = False
