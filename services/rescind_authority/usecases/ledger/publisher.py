"""Announce each commit to every listener.

If the authority crashes before the announcement, nothing is lost: the next heartbeat reply to each
sidecar contains the events that it lacks (design 4).
"""

from rescind.wire.events import Batch
from rescind_authority.ports.broadcast import EventAnnouncer
from rescind_authority.usecases.ledger.recent_events import RecentEvents


class Publisher:
    """Announce committed events to the sidecars, and append them to the recent events in memory."""

    def __init__(self, *, announcer: EventAnnouncer, recent: RecentEvents) -> None:
        self._announcer = announcer
        self._recent = recent

    def publish(self, batch: Batch) -> None:
        """Send a batch. This never waits and never fails."""
        self._announcer.announce(batch)
        self._recent.offer(batch)
