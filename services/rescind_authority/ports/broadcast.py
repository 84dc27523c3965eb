"""Messages to every sidecar; heartbeats repair lost messages."""

from typing import Protocol

from rescind.wire.events import Batch
from rescind.wire.heartbeat import AckRequest


class EventAnnouncer(Protocol):
    """Send committed events to every sidecar and authority that listens."""

    def announce(self, batch: Batch) -> None:
        """Send a batch. Never waits and never fails: heartbeats repair lost messages."""
        ...


class AcknowledgementCaller(Protocol):
    """Request acknowledgements from the fleet."""

    def call(self, request: AckRequest) -> None:
        """Send every sidecar a request to acknowledge a position.

        Never waits and never fails.
        """
        ...
