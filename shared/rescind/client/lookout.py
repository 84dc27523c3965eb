"""Look at every holding again whenever its token may have been hit.

That is when the sidecar tells of a change, when a lease or a token ends, and each second besides,
for what nobody tells: a machine that slept, a table that is not mapped. To look is to check, from
memory. Where memory does not do, the sidecar is asked about each token by itself, so that an answer
that does not come keeps nobody else waiting.

The rules for a sidecar that does not answer:

* A hold that waits for an answer ends with the lease under which it was last confirmed, whatever
  its place in the queue: a receipt counts on that end.
* Without a mapped table silence alone ends nothing before that moment: the sidecar may be busy.
  Meanwhile it is asked for its clock alone, and about tokens when it has answered that.
* A sidecar that hung up has left its place: its lease may be given back already. Its successor has
  the time that a check has; then all that wait end together.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Protocol

from rescind.client import clock
from rescind.client.holding import Holding
from rescind.client.horizon import Answered
from rescind.client.pushes import Pushes
from rescind.client.session import NO_ANSWER, Session
from rescind.core.verdict import Allowed, Denied, Reason, Verdict

_LONGEST_NS = 1_000_000_000
_LONGEST_S = 1.0
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


def confirm(holding: Holding, ends_ns: tuple[int, int] | None) -> int:
    """Note the lease of the table under which a hold was confirmed. Return when to look again.

    `ends_ns` are the ends of the lease and of the token as the table shows them; None without one.
    """
    if ends_ns is not None:
        holding.table_until_ns = ends_ns[0]
        return min(ends_ns)
    now_ns = clock.boottime_ns()
    due_ns = now_ns + _LONGEST_NS
    answered = holding.allowed
    if isinstance(answered, Answered):
        if answered.leased_until_ns is not None:
            # Half of it is for the answer that confirms it again.
            due_ns = min(due_ns, now_ns + max(_BLIND_NS, answered.leased_until_ns - now_ns) // 2)
        if answered.token_until_ns is not None:
            due_ns = min(due_ns, answered.token_until_ns)
    return due_ns


def _leased_until_ns(holding: Holding) -> int | None:
    """Return when the lease ends under which a hold was last confirmed; None if not known."""
    answered = holding.allowed
    return (
        answered.leased_until_ns if isinstance(answered, Answered) else None
    ) or holding.table_until_ns


class Lookout:
    """Watch over the holdings of one verifier, in one event loop."""

    def __init__(self, roll: Roll, judge: Judge, session: Callable[[], Session]) -> None:
        self._roll = roll
        self._judge = judge
        self._session = session
        self._news = asyncio.Event()
        self._asking = asyncio.Semaphore(_MOST_ASKED)
        self._asked: dict[Holding, bool] = {}
        self._answering = asyncio.Event()
        self._answering.set()
        self._probing: asyncio.Task[None] | None = None
        self._silent = False
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
                if not self._answering.is_set() and self._probing is None:
                    self._probing = tasks.create_task(self._probe())
                await self._pause(told=self.pushes.open or not holdings)
            listening.cancel()
            if self._probing is not None:
                self._probing.cancel()
            self._answering.set()

    def _rest_s(self, holdings: int, took_s: float) -> float:
        """Return how long to rest, so that looks at very many take a fifth of the time at most.

        Where there is no table each of them is asked about, which takes its time after the look.
        The rest for that ends early where a look is due, as at the end of a lease.
        """
        rest_s = min(_RESTRAINT * took_s, _LONGEST_S)
        if self._session().table is None:
            due_s = (self._roll.looks_by_ns - clock.boottime_ns()) / _NS_PER_S
            asking_s = min(_RESTRAINT * (took_s + holdings * _ASKING_S), _LONGEST_S)
            rest_s = max(rest_s, min(asking_s, due_s))
        return rest_s

    def _look(self, holdings: Collection[Holding], tasks: asyncio.TaskGroup) -> None:
        session, recall = self._session(), self._judge.recall
        soonest_ns = clock.boottime_ns() + _LONGEST_NS
        for holding in holdings:
            if holding.pass_by():
                continue
            claim = holding.claim
            if holding in self._asked:
                self._asked[holding] = True
                soonest_ns = min(soonest_ns, self._bounded(holding))
                continue
            # Before the recall: what it finds good under a lease covers the events of that lease.
            ends_ns = session.ends_ns(claim.token)
            verdict = recall(
                claim.token,
                require=claim.require,
                audience=claim.audience,
                address=claim.address,
            )
            match verdict:
                case Allowed():
                    holding.allowed = verdict
                    if ends_ns is not None:
                        soonest_ns = min(soonest_ns, confirm(holding, ends_ns))
                case Denied(reason) if self._excused(reason, session):
                    soonest_ns = min(soonest_ns, clock.boottime_ns() + _BLIND_NS)
                case Denied(reason):
                    self._end(holding, reason)
                case None:
                    soonest_ns = min(soonest_ns, self._bounded(holding))
                    if holding.reason is None:
                        self._asked[holding] = False
                        tasks.create_task(self._ask(holding))
        self._roll.look_by(soonest_ns)

    def _bounded(self, holding: Holding) -> int:
        """End a hold that may not wait for an answer any more. Return when to look at it again."""
        now_ns = clock.boottime_ns()
        leased_until_ns = _leased_until_ns(holding)
        if leased_until_ns is not None and now_ns >= leased_until_ns:
            self._end(holding, Reason.NO_LEASE)
        elif self._silent and not self._stands(holding, now_ns):
            self._end(holding, Reason.UNAVAILABLE)
        return min(
            confirm(holding, None),
            now_ns + _LONGEST_NS if leased_until_ns is None else leased_until_ns,
        )

    def _stands(self, holding: Holding, now_ns: int) -> bool:
        """Return True if a hold goes on beside a sidecar that is silent, by what it said before.

        A hold that another instance confirmed does not: that one may have given its lease back.
        """
        answered, session = holding.allowed, self._session()
        return (
            session.table is None
            and not session.vacant
            and isinstance(answered, Answered)
            and answered.horizon.instance == session.instance
            and answered.leased_until_ns is not None
            and now_ns < answered.leased_until_ns
            and (answered.token_until_ns is None or now_ns < answered.token_until_ns)
        )

    async def _ask(self, holding: Holding) -> None:
        """Ask the sidecar, and again if something changed meanwhile, which it may not have seen."""
        async with self._asking:
            await self._answering.wait()
            # It is not there any more if it was ended meanwhile: then no answer counts.
            while holding in self._asked:
                self._asked[holding] = False
                session = self._session()
                claim = holding.claim
                verdict = await self._judge.acheck(
                    claim.token,
                    require=claim.require,
                    audience=claim.audience,
                    address=claim.address,
                )
                if holding not in self._asked:
                    break
                if not await self._again(holding, verdict, session):
                    break
        self._asked.pop(holding, None)
        if holding.reason is None and self._roll.look_by(
            confirm(holding, self._session().ends_ns(holding.claim.token))
        ):
            self._news.set()

    async def _again(self, holding: Holding, verdict: Verdict, session: Session) -> bool:
        """Apply an answer to a hold. Return True if the question has to be repeated."""
        if verdict is NO_ANSWER and self._stands(holding, clock.boottime_ns()):
            # About the others nothing is asked before it is known that anything is answered.
            self._answering.clear()
            self._news.set()
            return False
        if isinstance(verdict, Allowed):
            holding.allowed = verdict
            return self._asked[holding]
        if self._excused(verdict.reason, session):
            await asyncio.sleep(_RETRY_S)
            return True
        self._end(holding, verdict.reason)
        if verdict is NO_ANSWER and session.table is None and session.vacant:
            for other in tuple(self._asked):
                self._end(other, verdict.reason)
        return False

    async def _probe(self) -> None:
        """Wait until the sidecar answers again, or has hung up; then have all asked about anew."""
        while await self._session().silent():
            if not self._silent:
                self._silent = True
                self._news.set()
            await asyncio.sleep(_RETRY_S)
        self._silent, self._probing = False, None
        self._answering.set()
        self._news.set()

    def _end(self, holding: Holding, reason: Reason) -> None:
        self._asked.pop(holding, None)
        self._roll.remove(holding)
        holding.hit(reason)

    def _excused(self, reason: Reason, session: Session) -> bool:
        """Return True if no verdict came because one sidecar takes another's place just now.

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
