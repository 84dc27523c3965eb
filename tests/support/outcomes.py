"""The two kinds of test failure: an unsafe answer was observed, or a state came too late.

A busy machine makes a sound system late, but never unsafe. So a test that fails because of time
alone is repeated once, and the summary shows both runs. Every other failure stands, and an unsafe
answer stands even if the same test is late too.
"""

import subprocess
import time
from collections.abc import Mapping, Sequence

import httpx2
import pytest

from rescind.client.transport import NoAnswerError


class LateError(AssertionError):
    """An expected state did not come before its deadline."""


class UnsafeError(AssertionError):
    """A verifier accepted a token that it must deny, or denied one without an excuse."""

    def __init__(self, violations: Sequence[str]) -> None:
        super().__init__("\n".join(violations))


_LATE = (
    LateError,
    TimeoutError,
    subprocess.TimeoutExpired,
    httpx2.TimeoutException,
    NoAnswerError,
)
_TIMEOUT_PLUGIN = "from pytest-timeout"
_MEASURED_S = 0.2
_BUSY = 1.3


def raise_if_unsafe(violations: Sequence[str]) -> None:
    """Raise UnsafeError if an oracle saw a violation."""
    if violations:
        raise UnsafeError(violations)


def raise_if_denied(good: Mapping[str, int]) -> None:
    """Raise LateError if good tokens were denied, given as counts by reason.

    A lease or an answer that came too late excuses a denial; other denials are violations. The
    250 ms that a first check waits assume a machine without other load, so `unavailable` is not a
    finding if other processes need the cores.
    """
    denied = {reason: count for reason, count in good.items() if count}
    if denied.keys() == {"unavailable"} and contention() > _BUSY:
        return
    if denied:
        raise LateError(f"good tokens were denied: {denied}")


def in_time(ends_s: float, seen: object) -> None:
    """Raise LateError with the last observed value, once `ends_s` of CLOCK_MONOTONIC has passed."""
    if time.monotonic() > ends_s:
        raise LateError(f"at the deadline: {seen}")


def timely(reached: bool, seen: object) -> None:
    """Raise LateError if a state is not reached that only a slow machine can prevent.

    Use it for actions that a system completes in time (it accepts a good token, it acknowledges),
    never for actions that it must not do.
    """
    if not reached:
        raise LateError(f"not in time: {seen}")


def soon(took_s: float, *, at_most_s: float) -> None:
    """Raise LateError if an action took longer than it should on a machine as busy as this one.

    The limit assumes a machine without other load. If it was missed, the machine is measured, and
    the limit is multiplied by the ratio of a computation's time to its CPU time.
    """
    if took_s > at_most_s and took_s > (allowed_s := at_most_s * contention()):
        raise LateError(f"took {took_s:.3f} s, more than {allowed_s:.3f} s")


def contention() -> float:
    """Return wall time over CPU time of a computation: 1 if no other process needs a core."""
    began_s, cpu_s = time.monotonic(), time.thread_time()
    while (used_s := time.thread_time() - cpu_s) < _MEASURED_S:
        pass
    return max(1.0, (time.monotonic() - began_s) / used_s)


def only_late(error: BaseException | None) -> bool:
    """Return True if every part of a failure is of time alone."""
    match error:
        case None | UnsafeError():
            return False
        case BaseExceptionGroup():
            return all(map(only_late, error.exceptions))
        case pytest.fail.Exception():
            return _TIMEOUT_PLUGIN in str(error)
        case _:
            return isinstance(error, _LATE)
