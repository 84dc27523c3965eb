"""Tell whoever watches that the table moved."""

import asyncio
from collections.abc import Callable

_PAUSE_S = 0.005


class Watchers:
    """Tell at once; while events come thick and fast, many of them as one.

    Somebody who is told compares what it holds, which costs it time: so between two tellings there
    are five milliseconds at least.
    """

    def __init__(self) -> None:
        self._watching: set[Callable[[], None]] = set()
        self._due: asyncio.TimerHandle | None = None
        self._not_before_s = 0.0

    def __len__(self) -> int:
        return len(self._watching)

    def add(self, tell: Callable[[], None]) -> None:
        """Call this after each change from now on. It must neither block nor raise."""
        self._watching.add(tell)

    def discard(self, tell: Callable[[], None]) -> None:
        """Call it no more."""
        self._watching.discard(tell)

    def changed(self) -> None:
        """Have everybody told: after the table shows it, not before."""
        if self._due is None and self._watching:
            loop = asyncio.get_running_loop()
            self._due = loop.call_at(max(loop.time(), self._not_before_s), self._tell)

    def _tell(self) -> None:
        self._due = None
        self._not_before_s = asyncio.get_running_loop().time() + _PAUSE_S
        for tell in tuple(self._watching):
            tell()
