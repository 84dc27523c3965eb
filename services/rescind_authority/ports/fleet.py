"""What is said to every sidecar; heartbeats repair what is lost."""

from typing import Protocol

from rescind.wire.events import Batch
from rescind.wire.heartbeat import Wanted


class Announcer(Protocol):
    """Tell everybody who listens what was committed."""

    def announce(self, batch: Batch) -> None:
        """Send a batch on its way. Never waits and never fails: heartbeats repair what is lost."""
        ...


class Caller(Protocol):
    """Ask the fleet."""

    def call(self, wanted: Wanted) -> None:
        """Ask every sidecar to acknowledge a position. Never waits and never fails."""
        ...
