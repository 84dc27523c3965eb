"""The holds of a fake verifier, checked again after each command."""

from collections.abc import Callable

from rescind.client.holds.hold import Hold
from rescind.core.verdict import CheckRequest, Denied, Verdict


class FakeHoldSupervisor:
    """A supervisor of holds without a thread: time passes only in `FakeVerifier.advance`."""

    def __init__(self, check: Callable[[CheckRequest], Verdict]) -> None:
        self._check = check
        self._registered: set[Hold] = set()

    def check_request(self, request: CheckRequest) -> Verdict:
        """Check a request now."""
        return self._check(request)

    async def acheck_request(self, request: CheckRequest) -> Verdict:
        """Check a request now."""
        return self._check(request)

    def add(self, hold: Hold) -> None:
        """Register a hold."""
        self._registered.add(hold)

    def schedule(self, hold: Hold) -> None:
        """Schedule nothing: every command checks all holds."""

    def remove(self, hold: Hold) -> None:
        """Remove a hold."""
        self._registered.discard(hold)

    def check_all(self) -> None:
        """End every hold whose request is denied now."""
        for hold in tuple(self._registered):
            verdict = self._check(hold.request)
            if isinstance(verdict, Denied):
                self.remove(hold)
                hold.end(verdict.reason)
