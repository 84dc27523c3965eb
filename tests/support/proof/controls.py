"""Caches as they are common in practice, for the controls: the oracle has to detect their faults.

`TtlCache` trusts an answer for some seconds. `PubSubCache` trusts it until it receives any change
over NATS; it has no lease, so it never learns of a change that it does not receive.
"""

import socket
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

from tests.support.proof.clients import Attach, Checker

from rescind.core.verdict import Allowed, Verdict
from rescind.wire import nats_subjects


class TtlCache:
    """A checker that caches accepted tokens for a fixed time."""

    def __init__(self, checker: Checker, *, ttl_s: float) -> None:
        self._checker = checker
        self._ttl_s = ttl_s
        self._kept: dict[str, tuple[float, Verdict]] = {}

    def check(self, token: str) -> Verdict:
        """Return the verdict from memory, or from the checker behind."""
        kept = self._kept.get(token)
        if kept is not None and time.monotonic() < kept[0]:
            return kept[1]
        verdict = self._checker.check(token)
        if isinstance(verdict, Allowed):
            self._kept[token] = (time.monotonic() + self._ttl_s, verdict)
        return verdict

    def close(self) -> None:
        """Close the checker behind."""
        self._checker.close()


class PubSubCache(threading.Thread):
    """A checker that caches accepted tokens until a change is received."""

    def __init__(self, checker: Checker, *, nats_url: str) -> None:
        super().__init__(daemon=True)
        where = urlsplit(nats_url)
        self._address = (where.hostname or "127.0.0.1", where.port or 4222)
        self._checker = checker
        self._kept: dict[str, Verdict] = {}
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        """Clear the cache whenever a message about events arrives."""
        while not self._ended.is_set():
            with suppress(OSError), socket.create_connection(self._address, timeout=1) as heard:
                heard.settimeout(0.2)
                login = b'CONNECT {"verbose":false}\r\n'
                heard.sendall(login + f"SUB {nats_subjects.EVENTS} 1\r\n".encode())
                while not self._ended.is_set():
                    with suppress(TimeoutError):
                        if not (said := heard.recv(65_536)):
                            break
                        if b"MSG " in said:
                            self._kept.clear()
                        if b"PING" in said:
                            heard.sendall(b"PONG\r\n")
            time.sleep(0.1)

    def check(self, token: str) -> Verdict:
        """Return the verdict from memory, or from the checker behind."""
        verdict = self._kept.get(token)
        if verdict is None:
            verdict = self._checker.check(token)
            if isinstance(verdict, Allowed):
                self._kept[token] = verdict
        return verdict

    def close(self) -> None:
        """Close the checker behind."""
        self._ended.set()
        self.join()
        self._checker.close()


def ttl_cached(attach: Attach, *, ttl_s: float) -> Attach:
    """Put a cache with a time to live before a checker."""
    return lambda: TtlCache(attach(), ttl_s=ttl_s)


def pubsub_cached(attach: Attach, *, nats_url: str) -> Attach:
    """Put a cache that subscribes to changes before a checker."""
    return lambda: PubSubCache(attach(), nats_url=nats_url)
