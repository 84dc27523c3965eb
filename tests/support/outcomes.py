"""How a test fails: because something unsafe was seen, or because something came too late.

A busy machine makes a sound system late; it never makes it unsafe. So a test that fails for time
alone is repeated once, and the summary shows both runs. Every other failure stands, and an unsafe
answer stands even where the same test is late too.
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
    """A verifier accepted what it must deny, or denied what nothing excuses."""

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

    What excuses a denial is a lease or an answer that came too late; others are violations. The
    250 ms that a first check waits are for a machine of its own, so that where other processes
    want the cores, `unavailable` is no finding.
    """
    denied = {reason: count for reason, count in good.items() if count}
    if denied.keys() == {"unavailable"} and contention() > _BUSY:
        return
    if denied:
        raise LateError(f"good tokens were denied: {denied}")


def in_time(ends_s: float, seen: object) -> None:
    """Raise LateError with what was last seen, once `ends_s` of CLOCK_MONOTONIC has passed."""
    if time.monotonic() > ends_s:
        raise LateError(f"at the deadline: {seen}")


def timely(reached: bool, seen: object) -> None:
    """Raise LateError if a state is not reached that only a slow machine can keep from coming.

    For what a system does in time (accepts a good token, acknowledges), never for what it must not.
    """
    if not reached:
        raise LateError(f"not in time: {seen}")


def soon(took_s: float, *, at_most_s: float) -> None:
    """Raise LateError if something took longer than it should on a machine as busy as this one.

    The limit is for a machine of its own. Where that was missed, the machine is measured, and the
    limit is multiplied by how much longer a computation takes here than its CPU time.
    """
    if took_s > at_most_s and took_s > (allowed_s := at_most_s * contention()):
        raise LateError(f"took {took_s:.3f} s, more than {allowed_s:.3f} s")


def contention() -> float:
    """Return wall time over CPU time of a computation: 1 where no other process wants a core."""
    began_s, cpu_s = time.monotonic(), time.thread_time()
    while (used_s := time.thread_time() - cpu_s) < _MEASURED_S:
        pass
    return max(1.0, (time.monotonic() - began_s) / used_s)


def only_late(error: BaseException | None) -> bool:
    """Return True if a failure is of time alone: no part of it says anything else."""
    match error:
        case None | UnsafeError():
            return False
        case BaseExceptionGroup():
            return all(map(only_late, error.exceptions))
        case pytest.fail.Exception():
            return _TIMEOUT_PLUGIN in str(error)
        case _:
            return isinstance(error, _LATE)
