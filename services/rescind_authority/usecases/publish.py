"""What happens after a commit: everybody hears of it, and nothing depends on that.

A crash before this line loses nothing: the head moved, so the next heartbeat reply of every
sidecar brings the events (design 4).
"""

from rescind.wire.events import Batch
from rescind_authority.ports.fleet import Announcer
from rescind_authority.usecases.recent import Recent


class Publisher:
    """Announce committed events to the sidecars, and keep them in memory for who asks."""

    def __init__(self, *, announcer: Announcer, recent: Recent) -> None:
        self._announcer = announcer
        self._recent = recent

    def publish(self, batch: Batch) -> None:
        """Send a batch. Never waits, never fails."""
        self._announcer.announce(batch)
        self._recent.offer(batch)
