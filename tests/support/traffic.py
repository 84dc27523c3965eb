"""Traffic on an installation, and the oracle that judges every answer of every verifier.

Three things must never happen, whatever dies (design 7; design 12, invariants I1, I2, I8):

* a token is accepted by a check that began after that sidecar's table showed its revocation;
* a token is accepted by a check that began later than one authority wait after its revocation was
  answered: by then every lease that precedes the revocation has ended;
* a good token is denied for another reason than a missing lease or an unreachable sidecar.
"""

import asyncio
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import httpx2
from tests.support.cluster import SERVICES, TERM_S, Cluster
from tests.support.outcomes import in_time, raise_if_unsafe

from rescind import Allowed, Denied, Reason, UnreachableError, Verifier
from rescind.client import clock
from rescind.core import lease

_WAIT_NS = lease.wait_ns(round(TERM_S * 1000))
_PAUSE_S = 0.004
_EXCUSED = frozenset({Reason.NO_LEASE, Reason.UNAVAILABLE})


@dataclass(slots=True)
class CheckedToken:
    """A token that the traffic uses. The seq is set before `answered_ns`, and both only once."""

    token: str
    token_id: str
    doomed: bool = False  # its revocation was requested: from here on either answer is right
    seq: int | None = None
    answered_ns: int | None = None


@dataclass(slots=True)
class ClientResults:
    """The results of one client."""

    checks: int = 0
    allowed: int = 0
    denied: int = 0
    last_good_ns: int = 0
    seen: set[str] = field(default_factory=set[str])
    violations: list[str] = field(default_factory=list[str])
    denied_good: Counter[str] = field(default_factory=Counter[str])  # by reason, excused or not


class Client(threading.Thread):
    """One workload beside one sidecar, checking all the time."""

    def __init__(
        self, cluster: Cluster, service: str, tokens: list[CheckedToken], seed: int
    ) -> None:
        super().__init__(name=f"client-{service}")
        self.service = service
        self.tally = ClientResults()
        self._socket = cluster.socket(service)
        self._tokens = tokens
        self._random = random.Random(seed)
        self.ended = threading.Event()

    def run(self) -> None:
        verifier = None
        while not self.ended.is_set():
            if verifier is None:
                with suppress(UnreachableError):
                    verifier = Verifier.attach(self._socket)
            if verifier is not None and self._tokens:
                self._check(verifier, self._random.choice(self._tokens))
            time.sleep(_PAUSE_S)
        if verifier is not None:
            verifier.close()

    def _check(self, verifier: Verifier, known: CheckedToken) -> None:
        # Everything by which the verdict is judged is read before the check begins.
        doomed, seq, answered_ns = known.doomed, known.seq, known.answered_ns
        shown = verifier.freshness().as_of
        began_ns = clock.boottime_ns()
        verdict = verifier.check(known.token)
        self.tally.checks += 1
        match verdict:
            case Allowed():
                self.tally.allowed += 1
                self.tally.seen.add(known.token_id)
                if not doomed:
                    self.tally.last_good_ns = began_ns
                if seq is not None and shown >= seq:
                    self._violation(f"{known.token_id} accepted at {shown}, revoked at {seq}")
                if answered_ns is not None and began_ns > answered_ns + _WAIT_NS:
                    late_ms = (began_ns - answered_ns) // 1_000_000
                    self._violation(f"{known.token_id} accepted {late_ms} ms after its revocation")
            case Denied(reason):
                self.tally.denied += 1
                self.tally.denied_good[reason] += not known.doomed
                if not known.doomed and reason not in _EXCUSED:
                    self._violation(f"{known.token_id} is good and was denied as {reason}")

    def _violation(self, text: str) -> None:
        self.tally.violations.append(f"{self.service}: {text}")


class Traffic:
    """Clients beside every sidecar, and an administrator that issues and revokes throughout."""

    def __init__(self, cluster: Cluster, *, seed: int, control: bool = False) -> None:
        self._cluster = cluster
        self._control = control
        self._random = random.Random(seed)
        self.tokens: list[CheckedToken] = []
        self.issued = 0
        self.revoked = 0
        self.clients = [
            Client(cluster, service, self.tokens, seed + number)
            for number, service in enumerate(SERVICES)
        ]

    async def __aenter__(self) -> Self:
        self._http = await httpx2.AsyncClient(
            headers=self._cluster.admin, timeout=2.0, trust_env=False
        ).__aenter__()
        for _ in range(20):
            await self.issue()
        for client in self.clients:
            client.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self.clients:
            client.ended.set()
        for client in self.clients:
            await asyncio.to_thread(client.join)
        await self._http.aclose()
        if not self._control:
            raise_if_unsafe(self.violations)  # before an error of a late test is raised

    @property
    def violations(self) -> list[str]:
        return [text for client in self.clients for text in client.tally.violations]

    @property
    def denied_good(self) -> Counter[str]:
        """Return how often a good token was denied, by reason, excused or not."""
        return sum((client.tally.denied_good for client in self.clients), Counter[str]())

    @property
    def checks(self) -> int:
        return sum(client.tally.checks for client in self.clients)

    async def admin(self) -> None:
        """Issue and revoke until cancelled."""
        while True:
            await self.issue()
            await self.revoke(
                self._random.choice([known for known in self.tokens if not known.doomed])
            )
            await asyncio.sleep(0.05)

    @property
    def good(self) -> list[CheckedToken]:
        """The tokens whose revocation was not requested."""
        return [known for known in self.tokens if not known.doomed]

    async def issue(self) -> None:
        body = {"subject": "agent:traffic", "kind": "agent", "scopes": ["a"], "ttl": 3600}
        issued = await self._command("/v1/tokens", body)
        if issued.get("token"):  # a repeat after a lost answer omits the token
            self.tokens.append(CheckedToken(issued["token"], issued["token_id"]))
            self.issued += 1

    async def revoke(self, known: CheckedToken) -> None:
        known.doomed = True
        body = {"selector": [f"token:{known.token_id}"], "reason": "traffic"}
        answer = await self._command("/v1/revocations", body)
        known.seq = answer["seq"]
        known.answered_ns = clock.boottime_ns()
        self.revoked += 1

    async def _command(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """Repeat a command under one key until some authority answers it."""
        headers = {"Idempotency-Key": secrets.token_hex(8)}
        while True:
            url = self._random.choice(self._cluster.authorities)
            try:
                answer = await self._http.post(f"{url}{path}", json=body, headers=headers)
            except httpx2.HTTPError:
                await asyncio.sleep(0.05)
                continue
            if answer.status_code in {200, 201}:
                found: dict[str, Any] = answer.json()
                return found
            assert answer.status_code == 503, answer.text
            await asyncio.sleep(0.05)

    async def recovered(self, *, deadline_s: float) -> None:
        """Wait until every client has had a good token accepted, by a check that began later."""
        since_ns = clock.boottime_ns()
        ends = time.monotonic() + deadline_s
        while silent := [
            client.service for client in self.clients if client.tally.last_good_ns < since_ns
        ]:
            in_time(ends, f"no good token accepted beside {silent}")
            await asyncio.sleep(0.01)

    async def seen_everywhere(self, *, deadline_s: float) -> None:
        """Wait until every client has had every good token accepted once."""
        ends = time.monotonic() + deadline_s
        while any({known.token_id for known in self.good} - c.tally.seen for c in self.clients):
            in_time(ends, "some token was never accepted")
            await asyncio.sleep(0.01)

    async def revoked_more(self, *, deadline_s: float) -> None:
        """Wait until one more revocation was answered, so that the authorities work again too."""
        before, ends = self.revoked, time.monotonic() + deadline_s
        while self.revoked == before:
            in_time(ends, "no revocation is answered")
            await asyncio.sleep(0.01)

    async def checked_more(self, count: int, *, deadline_s: float) -> None:
        """Wait until the clients have made this number of further checks."""
        wanted, ends = self.checks + count, time.monotonic() + deadline_s
        while self.checks < wanted:
            in_time(ends, f"{self.checks} checks of {wanted}")
            await asyncio.sleep(0.01)

    async def denied_everywhere(self, known: CheckedToken, *, deadline_s: float) -> None:
        """Wait until a new verifier beside every sidecar denies a token as revoked."""
        ends = time.monotonic() + deadline_s
        for service in SERVICES:
            verifier = await asyncio.to_thread(Verifier.attach, self._cluster.socket(service))
            try:
                while await verifier.acheck(known.token) != Denied(Reason.REVOKED):
                    in_time(ends, f"{service} still accepts it")
                    await asyncio.sleep(0.01)
            finally:
                verifier.close()
