"""Look at every holding again whenever its token may have been hit.

That is when the sidecar tells of a change, when a lease or a token ends, and each second besides,
for what nobody tells: a machine that slept, a table that is not mapped. To look is to check, from
memory. Where memory does not do, the sidecar is asked about each token by itself, so that an answer
that does not come keeps nobody else waiting.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Protocol

from rescind.client import clock
from rescind.client.holding import Holding
from rescind.client.pushes import Pushes
from rescind.client.session import Session
from rescind.core.verdict import Allowed, Denied, Reason, Verdict

_LONGEST_NS = 1_000_000_000
_BLIND_NS = 20_000_000
_RETRY_S = 0.02
_PATIENT_AGAIN_S = 1.0
_RESTRAINT = 4
_ASKING_S = 0.0001
_MOST_ASKED = 64
_NS_PER_S = 1_000_000_000
_NOT_JUDGED = frozenset({Reason.NO_LEASE, Reason.UNAVAILABLE})


class Judge(Protocol):
    """What a Verifier does."""

    def check(
        self,
        token: str,
        *,
        require: Collection[str],
        audience: str | None,
        address: str | None,
    ) -> Verdict:
        """Judge a token for one call."""
        ...

    async def acheck(
        self,
        token: str,
        *,
        require: Collection[str],
        audience: str | None,
        address: str | None,
    ) -> Verdict:
        """Judge a token for one call."""
        ...

    def recall(
        self,
        token: str,
        *,
        require: Collection[str],
        audience: str | None,
        address: str | None,
    ) -> Verdict | None:
        """Judge a token from memory; None says that somebody must be asked."""
        ...


class Roll(Protocol):
    """The holdings there are, and by when the next look is due. Other threads change both."""

    looks_by_ns: int

    def take(self, looks_by_ns: int) -> Collection[Holding]:
        """Begin a look at all holdings, with the next one due by then."""
        ...

    def look_by(self, ns: int) -> bool:
        """Have the next look due by then. Say whether it was due later."""
        ...

    def remove(self, holding: Holding) -> None:
        """Look after a holding no more."""
        ...

    def left(self) -> bool:
        """Say whether there is nothing to look after any more."""
        ...


class Lookout:
    """Watch over the holdings of one verifier, in one event loop."""

    def __init__(self, roll: Roll, judge: Judge, session: Callable[[], Session]) -> None:
        self._roll = roll
        self._judge = judge
        self._session = session
        self._news = asyncio.Event()
        self._asking = asyncio.Semaphore(_MOST_ASKED)
        self._asked: dict[Holding, bool] = {}
        self._vacant_until_s = float("-inf")
        self.rouse = self._news.set
        self.pushes = Pushes(lambda: session().path, self.rouse)

    async def run(self) -> None:
        """Look until nobody holds anything any more."""
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(self.pushes.listen())
            while not self._roll.left():
                # The news before the look: what comes during it is looked at next.
                self._news.clear()
                holdings = self._roll.take(clock.boottime_ns() + _LONGEST_NS)
                began_s = clock.monotonic_s()
                self._look(holdings, tasks)
                await asyncio.sleep(self._rest_s(len(holdings), clock.monotonic_s() - began_s))
                await self._pause(told=self.pushes.open or not holdings)
            listening.cancel()

    def _rest_s(self, holdings: int, took_s: float) -> float:
        """Say how long to rest, so that looks at very many take no more than a fifth of the time.

        Where there is no table each of them is asked about, which takes its time after the look.
        """
        if self._session().table is None:
            took_s += holdings * _ASKING_S
        return min(_RESTRAINT * took_s, _LONGEST_NS / _NS_PER_S)

    def _look(self, holdings: Collection[Holding], tasks: asyncio.TaskGroup) -> None:
        session, recall = self._session(), self._judge.recall
        soonest_ns = clock.boottime_ns() + _LONGEST_NS
        for holding in holdings:
            if holding.pass_by():
                continue
            claim = holding.claim
            if holding in self._asked:
                self._asked[holding] = True
                continue
            verdict = recall(
                claim.token,
                require=claim.require,
                audience=claim.audience,
                address=claim.address,
            )
            match verdict:
                case Allowed():
                    until_ns = session.good_until_ns(claim.token)
                    if until_ns is not None and until_ns < soonest_ns:
                        soonest_ns = until_ns
                case Denied(reason) if self._excused(reason, session):
                    soonest_ns = min(soonest_ns, clock.boottime_ns() + _BLIND_NS)
                case Denied(reason):
                    self._end(holding, reason)
                case None:
                    self._asked[holding] = False
                    tasks.create_task(self._ask(holding))
        self._roll.look_by(soonest_ns)

    async def _ask(self, holding: Holding) -> None:
        """Ask the sidecar, and again if something changed meanwhile, which it may not have seen."""
        claim = holding.claim
        async with self._asking:
            while True:
                self._asked[holding] = False
                session = self._session()
                verdict = await self._judge.acheck(
                    claim.token,
                    require=claim.require,
                    audience=claim.audience,
                    address=claim.address,
                )
                if isinstance(verdict, Allowed):
                    if not self._asked[holding]:
                        break
                elif self._excused(verdict.reason, session):
                    await asyncio.sleep(_RETRY_S)
                else:
                    self._end(holding, verdict.reason)
                    break
        del self._asked[holding]
        until_ns = self._session().good_until_ns(claim.token)
        if until_ns is not None and self._roll.look_by(until_ns):
            self._news.set()

    def _end(self, holding: Holding, reason: Reason) -> None:
        self._roll.remove(holding)
        holding.hit(reason)

    def _excused(self, reason: Reason, session: Session) -> bool:
        """Say whether nobody could judge because one sidecar takes another's place just now.

        They have the time for it that a check has. A lease that lapses is another matter: whoever
        waits for a receipt counts on its end, and nothing goes on after that.
        """
        if reason is Reason.NO_LEASE and self._session().freshness().fresh_for_ms:
            return True  # it came since
        if reason not in _NOT_JUDGED:
            return False
        now_s = clock.monotonic_s()
        if session.vacant and now_s >= self._vacant_until_s + _PATIENT_AGAIN_S:
            self._vacant_until_s = session.deadline_s()
        return now_s < self._vacant_until_s

    async def _pause(self, *, told: bool) -> None:
        left_ns = self._roll.looks_by_ns - clock.boottime_ns()
        if not told:
            left_ns = min(left_ns, _BLIND_NS)
        # Not wait_for: on 3.11 it swallows a cancellation that comes with the event.
        with suppress(TimeoutError):
            async with asyncio.timeout(left_ns / _NS_PER_S):
                await self._news.wait()
