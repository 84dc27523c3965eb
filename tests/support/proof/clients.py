"""Workloads that check all the time: through the table, the socket, and HTTP."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import httpx2
from tests.support.proof.oracle import CheckedToken, Oracle

from rescind import Denied, Reason, UnreachableError, Verifier
from rescind.client import clock
from rescind.core.record import Record
from rescind.core.verdict import Allowed, Verdict
from rescind.testing import FakeVerifier

_RETRY_S = 0.05


class Checker(Protocol):
    """A verifier of tokens beside a service."""

    def check(self, token: str) -> Verdict:
        """Return the verdict on a token."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


Attach = Callable[[], Checker]
"""A function that makes a checker. Raises UnreachableError if the sidecar is not there yet."""


def by_table(socket: Path) -> Attach:
    """Check in memory, against the sidecar's table."""
    return lambda: Verifier.attach(socket)


def by_socket(socket: Path, folder: Path) -> Attach:
    """Check over the socket, under a name without a table beside it."""
    folder.mkdir(exist_ok=True)
    alias = folder / socket.name
    alias.unlink(missing_ok=True)
    alias.symlink_to(socket)

    def attach() -> Checker:
        verifier = Verifier.attach(alias)
        assert not verifier.shares_memory
        return verifier

    return attach


class _Http:
    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self._http = httpx2.Client(timeout=1.0, trust_env=False)

    def check(self, token: str) -> Verdict:
        try:
            answer = self._http.post(f"{self._url()}/v1/check", json={"token": token})
            found = answer.json()
        except (httpx2.HTTPError, ValueError):
            return Denied(Reason.UNAVAILABLE)
        if found.get("active"):
            return Allowed(_ANYTHING)
        return Denied(Reason(found.get("reason", Reason.UNAVAILABLE)))

    def close(self) -> None:
        self._http.close()


def by_http(url: Callable[[], str]) -> Attach:
    """Check over the sidecar's HTTP, at its current address."""
    return lambda: _Http(url)


def _some_record() -> Record:
    verifier = FakeVerifier()
    verdict = verifier.check(verifier.issue().token)
    assert isinstance(verdict, Allowed)
    return verdict.record


_ANYTHING = _some_record()


class Client(threading.Thread):
    """One workload beside one sidecar."""

    def __init__(
        self,
        service: str,
        attach: Attach,
        pools: Callable[[], Sequence[Sequence[CheckedToken]]],
        oracle: Oracle,
        *,
        pause_s: float,
        seed: int,
    ) -> None:
        super().__init__(name=f"client-{service}", daemon=True)
        self.service = service
        self.last_good_ns = 0
        self.ended = threading.Event()
        self._attach = attach
        self._pools = pools
        self._oracle = oracle
        self.pause_s = pause_s
        self._random = random.Random(seed)

    def run(self) -> None:
        """Check until `stop` is called."""
        checker: Checker | None = None
        while not self.ended.is_set():
            if checker is None:
                with suppress(UnreachableError):
                    checker = self._attach()
            pool = self._random.choice(self._pools())
            if checker is None or not pool:
                time.sleep(_RETRY_S)
                continue
            self._check(checker, self._random.choice(pool))
            time.sleep(self.pause_s)
        if checker is not None:
            checker.close()

    def _check(self, checker: Checker, known: CheckedToken) -> None:
        premise = self._oracle.premise(known, self.service)
        verdict = checker.check(known.token)
        self._oracle.judge(known, self.service, verdict, premise)
        if isinstance(verdict, Allowed) and not known.doomed:
            self.last_good_ns = premise.began_ns

    def stop(self) -> None:
        """Stop the checks."""
        self.ended.set()
        self.join()


def now_ns() -> int:
    """Return the time of the oracle's clock."""
    return clock.boottime_ns()
