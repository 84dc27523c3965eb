"""Notifications of table changes, for the clients that watch."""

import asyncio
from collections.abc import Callable

_PAUSE_S = 0.005


class ChangeNotifier:
    """Notify at once, and join events that follow closely into one notification.

    A notified client checks all its holds, which takes time. So there are at least five
    milliseconds between two notifications.
    """

    def __init__(self) -> None:
        self._callbacks: set[Callable[[], None]] = set()
        self._due: asyncio.TimerHandle | None = None
        self._not_before_s = 0.0

    def __len__(self) -> int:
        return len(self._callbacks)

    def add(self, callback: Callable[[], None]) -> None:
        """Register a function that is called after each change. It must neither block nor raise."""
        self._callbacks.add(callback)

    def discard(self, callback: Callable[[], None]) -> None:
        """Remove a registered function."""
        self._callbacks.discard(callback)

    def changed(self) -> None:
        """Notify every client, after the table shows the change and not before."""
        if self._due is None and self._callbacks:
            loop = asyncio.get_running_loop()
            self._due = loop.call_at(max(loop.time(), self._not_before_s), self._notify)

    def _notify(self) -> None:
        self._due = None
        self._not_before_s = asyncio.get_running_loop().time() + _PAUSE_S
        for callback in tuple(self._callbacks):
            callback()
