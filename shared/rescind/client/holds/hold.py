"""Holds for work that outlasts a check; a hold ends when its token is denied (design 6.7).

The rules of this file:

* Register first, then check: a change between the two is then reported, not lost.
* Suppress only the hold's own cancellation, as `asyncio.timeout` does. Never replace an exception
  of the body.
* `end` may be called from any thread, and more than once. The first reason counts. After the block,
  `end` has no effect on the work.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Protocol

from rescind.core.record import Record
from rescind.core.verdict import Allowed, CheckRequest, Denied, Reason, Verdict
from rescind.errors import DeniedError


class HoldSupervisor(Protocol):
    """The part of a registry that a hold needs: it checks requests while holds are registered."""

    def check_request(self, request: CheckRequest) -> Verdict:
        """Check a request now, blocking this thread."""
        ...

    async def acheck_request(self, request: CheckRequest) -> Verdict:
        """Check a request now."""
        ...

    def add(self, hold: "Hold") -> None:
        """Register a hold: call its `end`, from any thread, as soon as its request is denied."""
        ...

    def schedule(self, hold: "Hold") -> None:
        """Schedule the next check of a hold that was just allowed."""
        ...

    def remove(self, hold: "Hold") -> None:
        """Stop checking a hold."""
        ...


class ThreadHold:
    """The hold of a thread: `revoked` is set when the work must end, for any reason.

    Check `revoked.is_set()` between two steps, or replace a sleep by `revoked.wait(seconds)`.
    `reason` is why the token is denied, and None until then.
    """

    __slots__ = ("_action", "reason", "record", "revoked")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.revoked = threading.Event()
        self.reason: Reason | None = None
        self._action: Callable[[], object] | None = None

    def call_when_denied(self, action: Callable[[], object]) -> None:
        """Call an action as soon as the token is denied, or now if it is denied already.

        The action replaces a former one. It runs in the thread that checks all holds, so it must
        neither block nor raise, and it may be called more than once. Use it to wake a thread that
        waits for something else than `revoked`, such as a socket.
        """
        # This writes `_action`, then reads `revoked`. `end` writes `revoked`, then reads `_action`.
        # So at least one of the two calls the action.
        self._action = action
        if self.revoked.is_set():
            action()

    def end(self, reason: Reason) -> None:
        """Set `reason` and `revoked`, because the token is denied with this reason."""
        self.reason = reason
        self.revoked.set()
        if self._action is not None:
            self._action()


class Hold:
    """One piece of work under one token. Enter it once: with `async with`, or `with` in a thread.

    `reason` is why the token is denied, and None until it is. `allowed` is the last verdict that
    confirmed the token. `table_until_ns` is the end of the lease (CLOCK_BOOTTIME) that the mapped
    table showed at that verdict.
    """

    def __init__(self, supervisor: HoldSupervisor, request: CheckRequest) -> None:
        self.request = request
        self.reason: Reason | None = None
        self.thread: int | None = None
        self.check_deferred = False
        self.allowed: Allowed | None = None
        self.table_until_ns: int | None = None
        self._supervisor = supervisor
        self._entered = False
        self._end_work: Callable[[Reason], object] | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._cancelled = False

    def end(self, reason: Reason) -> None:
        """End the work. May be called from any thread, and repeatedly."""
        self.reason = self.reason or reason
        if self._end_work is not None:
            self._end_work(self.reason)

    def defer(self) -> bool:
        """Return True while the first check is in flight, and mark the hold for a check after it.

        A second check at the same time could fail on its own and end the work.
        """
        # Write before the read. `_activate` writes `_end_work`, then reads `check_deferred`. So at
        # least one of the two sees the other's write.
        self.check_deferred = True
        return self._end_work is None

    # In an event loop --------------------------------------------------------------------------

    async def __aenter__(self) -> Record:
        """Return the token's record. Raises DeniedError if it is denied now."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a hold cancels the task that it is entered in: there is none here")
        self._register()
        try:
            record = self._require_record(await self._supervisor.acheck_request(self.request))
            self._task, self._cancelling = task, task.cancelling()
            self._activate(partial(_call_in_loop, task.get_loop(), self._cancel))
        except BaseException:
            self._task = None
            self._supervisor.remove(self)
            raise
        return record

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Raise DeniedError if the hold was ended, in place of the resulting cancellation."""
        task, self._task = self._task, None
        self._supervisor.remove(self)
        if not self._cancelled or task is None:
            return
        foreign = task.uncancel() > self._cancelling
        if kind is None or (issubclass(kind, asyncio.CancelledError) and not foreign):
            raise DeniedError(self._reason) from error

    def _cancel(self) -> None:
        """Cancel the body if it still runs. Runs in the body's event loop."""
        if self._task is not None and not self._cancelled:
            self._cancelled = True
            self._task.cancel(f"the token is denied: {self._reason}")

    # In a thread -------------------------------------------------------------------------------

    def __enter__(self) -> ThreadHold:
        """Return the handle with `revoked`. Raises DeniedError if the token is denied now."""
        self.thread = threading.get_ident()
        self._register()
        try:
            thread_hold = ThreadHold(
                self._require_record(self._supervisor.check_request(self.request))
            )
            self._activate(thread_hold.end)
        except BaseException:
            self._supervisor.remove(self)
            raise
        return thread_hold

    def __exit__(self, *_: object) -> None:
        """End the hold. Raises nothing: a thread is not interrupted, it checks `revoked`."""
        self._supervisor.remove(self)

    # Either way --------------------------------------------------------------------------------

    def _register(self) -> None:
        if self._entered:
            raise RuntimeError("it covers one block: call hold() for each")
        self._entered = True
        self._supervisor.add(self)

    def _require_record(self, verdict: Verdict) -> Record:
        match verdict:
            case Allowed(record):
                self.allowed = verdict
                return record
            case Denied(reason):
                self.reason = reason
                raise DeniedError(reason)

    def _activate(self, end: Callable[[Reason], object]) -> None:
        self._end_work = end
        # After the line above, `end` calls `_end_work`. An earlier `end` has left a reason.
        if self.reason is not None:
            raise DeniedError(self.reason)
        self._supervisor.schedule(self)

    @property
    def _reason(self) -> Reason:
        return self.reason or Reason.UNAVAILABLE


def _call_in_loop(loop: asyncio.AbstractEventLoop, action: Callable[[], None], _: Reason) -> None:
    with suppress(RuntimeError):  # the loop is closed, so the work has ended
        loop.call_soon_threadsafe(action)
