"""Announce each commit to every listener.

Nothing depends on the announcement. A crash before it loses nothing, because the head moved. The
next heartbeat reply of every sidecar contains the events (design 4).
"""

from rescind.wire.events import Batch
from rescind_authority.ports.broadcast import EventAnnouncer
from rescind_authority.usecases.ledger.recent_events import RecentEvents


class Publisher:
    """Announce committed events to the sidecars, and keep them in memory for callers."""

    def __init__(self, *, announcer: EventAnnouncer, recent: RecentEvents) -> None:
        self._announcer = announcer
        self._recent = recent

    def publish(self, batch: Batch) -> None:
        """Send a batch. This never waits and never fails."""
        self._announcer.announce(batch)
        self._recent.offer(batch)
