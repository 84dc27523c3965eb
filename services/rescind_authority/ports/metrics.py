"""Metrics of the authority."""

from collections.abc import Callable
from typing import Protocol

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Protocol):
    """The metrics of one process."""

    def watch(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Publish a number that is read at each scrape."""
        ...

    def request(self, *, method: str, route: str, status: int) -> None:
        """Count an HTTP request."""
        ...

    def committed(self, *, events: int, seconds: float) -> None:
        """Count a commit of the sequencer."""
        ...

    def commit_failed(self) -> None:
        """Count a transaction of the sequencer that did not commit."""
        ...

    def unanswered(self, *, subject: str, outcome: str) -> None:
        """Count a request of a sidecar that got no answer."""
        ...

    def heartbeats(self, *, granted: int, refused: int) -> None:
        """Count heartbeats."""
        ...

    def set_back(self, heartbeats: int) -> None:
        """Count heartbeats that prove that the ledger was set back."""
        ...

    def resolves(self, *, found: int, unknown: int, seconds: float) -> None:
        """Count look-ups that one statement answered."""
        ...

    def shared(self, *, written: int, lost: int) -> None:
        """Count records for Redis."""
        ...

    def used(self, *, written: int, lost: int) -> None:
        """Count reports of use."""
        ...

    def marked(self, tokens: int) -> None:
        """Count tokens to which the sweep wrote a revoked mark."""
        ...

    def refusal_not_audited(self) -> None:
        """Count a refused call that got no entry in the audit."""
        ...

    def row_refused(self) -> None:
        """Count a row that differs from what an authority wrote."""
        ...

    def unannounced(self) -> None:
        """Count a batch that was not pushed."""
        ...

    def render(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        ...
