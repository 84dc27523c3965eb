"""Functions that wait for an expected state, with a deadline."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tests.support.outcomes import LateError

_DEADLINE_S = 15.0
_POLL_S = 0.01
_Value = TypeVar("_Value")


async def eventually(
    observe: Callable[[], Awaitable[_Value]],
    *,
    until: Callable[[_Value], bool] = bool,
    deadline_s: float = _DEADLINE_S,
) -> _Value:
    """Return the first observed value that satisfies. Raises LateError with the last value."""
    seen: _Value | None = None
    try:
        async with asyncio.timeout(deadline_s):
            while not until(found := await observe()):
                seen = found
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise LateError(f"still {seen!r} after {deadline_s} s") from None
    return found


def eventually_blocking(
    observe: Callable[[], _Value], *, deadline_s: float = _DEADLINE_S
) -> _Value:
    """Return the first true value, in a test without a loop. Raises LateError with the last one."""
    ends_s = time.monotonic() + deadline_s
    while not (seen := observe()):
        if time.monotonic() > ends_s:
            raise LateError(f"still {seen!r} after {deadline_s} s")
        time.sleep(_POLL_S)
    return seen
