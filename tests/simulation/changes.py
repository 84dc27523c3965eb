"""Rotations of tokens, and ends of tokens, now or at a later time.

Each change is of a token of its own, which verifiers have seen before. The oracle judges their
receipts too: what was ended is accepted nowhere after the receipt, whatever the clocks show. What a
verifier has found expired it does not accept again.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

from tests.simulation.clock_steps import Step
from tests.simulation.network import now_s
from tests.simulation.oracle import Issued, Promise
from tests.simulation.trust import EdgeKeys, RandomSource
from tests.support.postgres_in_memory import Transaction

from rescind.core import token_format
from rescind.core.handles import Handle, Selector
from rescind.core.revocation import Event, Revocation
from rescind.core.token_format import Kind
from rescind.core.verdict import Allowed, Reason, Verdict
from rescind.errors import RescindError
from rescind_authority import actors
from rescind_authority.ports.ledger import Change, CommittedEvent, End, Expiry, Rotation
from rescind_authority.ports.tokens import IssueTimes as Footed

if TYPE_CHECKING:
    from tests.simulation.workload import SimulatedVerifier
    from tests.simulation.world import World

_HOUR_US = 3_600_000_000
_SUBJECT, _TENANT = "agent:changing", "changing"
_END_IS_LATE_S = 7.0  # after its time: an authority looks each five seconds


@dataclass(slots=True)
class EndPromise(Promise):
    """A promise that a token, or one secret of it, has ended; it excludes descendants."""

    texts: frozenset[str] = frozenset()

    def takes(self, token: Issued, *, writes: bool) -> bool:
        return token.text in self.texts


class Changes:
    """An actor that changes tokens, and checks the results."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._actors = world.actors
        self._oracle = world.oracle
        self._cluster = world.cluster
        self._random = Random(f"{world.plan.seed} changes")
        self._entropy = RandomSource(f"{world.plan.seed} changed secrets")
        self._number = 0
        self._expired: dict[tuple[int, bytes, str], float] = {}
        self._awaited: dict[End, float] = {}
        self._ended: list[Issued] = []

    async def run(self) -> None:
        """Change one token after another."""
        for step in self._world.clock.steps:
            self._world.begin(self._start_anew_after(step))
        kinds = (self._rotate, self._expire, self._expire_later, self._overlap)
        while not self._actors.over:
            await asyncio.sleep(self._random.uniform(0.2, 1.0))
            token = self._issue()
            self._see(token)
            self._world.begin(self._random.choice((*kinds, self._let_expire))(token))

    async def _start_anew_after(self, step: Step) -> None:
        """Restart a sidecar after a step of the clock, and check ended tokens there."""
        await asyncio.sleep(max(0.0, step.at_s - now_s()) + self._random.uniform(0.0, 0.3))
        world, number = self._world, self._random.randrange(len(self._world.places))
        sidecar = world.places[number].sidecar
        if sidecar in world.running and not world.plan.quiet:
            sidecar.crash(world.running.pop(sidecar))
            world.start_sidecar(number)
        for later_s in (0.5, 1.0, 2.0):
            await asyncio.sleep(later_s)
            for token in self._ended:
                self._check([token], 0.001, share=0.5)

    # Tokens -------------------------------------------------------------------------------------

    def _issue(self, ttl_us: int = _HOUR_US) -> Issued:

        token, text = self._actors._new_token(Kind.AGENT, _SUBJECT, _TENANT)

        async def free() -> None:
            pass

        transaction = Transaction(self._cluster, free)
        at_us, as_of = self._cluster.time_us(self._cluster.tables), self._cluster.tables.end.seq
        transaction.store(token, Footed(at_us, as_of, at_us + ttl_us))
        transaction.commit()
        return Issued(
            text, token.grant.token_id, token.grant.kind, frozenset(token.grant.handles), as_of
        )

    def _see(self, token: Issued) -> None:
        """Check a token at some verifiers, so that they cache its record."""
        self._check([token], 0.001, share=0.5)

    def _check(self, taken: Sequence[Issued], later_s: float, *, share: float = 1.0) -> None:
        world = self._world
        for place, verifier in world.verifiers:
            if self._random.random() < share:
                token = self._random.choice(taken)
                world.begin(world.later(later_s, place, verifier, token, None))

    # Changes ------------------------------------------------------------------------------------

    async def _rotate(self, token: Issued, overlap_us: int = 0) -> None:
        secret = token_format.mint(
            kind=token.kind, random=self._entropy(32), edge_key=EdgeKeys.minting
        ).reveal()
        change = Rotation(
            token.token_id, None, token_format.digest(secret), overlap_us, reuse_revokes=False
        )
        await asyncio.sleep(self._random.uniform(0.0, 0.5))
        event = await self._change(token, change, "rotate")
        self._see(replace(token, text=secret))
        end = End(token.token_id, token_format.digest(token.text))
        if overlap_us:
            await self._end_of(end, [token.text], event, self._cluster.tables.ending.get(end))

    async def _overlap(self, token: Issued) -> None:
        await self._rotate(token, round(self._random.uniform(0.3, 1.5) * 1_000_000))

    async def _expire(self, token: Issued) -> None:
        await asyncio.sleep(self._random.uniform(0.0, 0.5))
        await self._change(token, Expiry(token.token_id, None), "expire")

    async def _expire_later(self, token: Issued) -> None:
        at_us = self._cluster.time_us(self._cluster.tables) + round(
            self._random.uniform(0.3, 1.5) * 1_000_000
        )
        event = await self._change(token, Expiry(token.token_id, at_us), "expire later")
        await self._end_of(End(token.token_id), [token.text], event, at_us)

    async def _let_expire(self, _: Issued) -> None:
        """Issue a token with a short life, and check it repeatedly."""
        ttl_s = self._random.uniform(0.5, 2.0)
        token = self._issue(round(ttl_s * 1_000_000))
        for after_s in (0.01, ttl_s + 0.3, ttl_s + 1.0, ttl_s + 2.0, ttl_s + 4.0):
            self._check([token], after_s)

    # Receipts -----------------------------------------------------------------------------------

    def _revocation(self, token: Issued, change: Change) -> Revocation:
        self._number += 1
        kind = "tree" if isinstance(change, Expiry) else "token"
        return Revocation(
            revocation_id=f"rev_c{self._number}",
            selector=Selector((Handle(f"{kind}:{token.token_id}"),)),
            effect="changed",
            reason="a simulation",
            actor="admin:ada",
        )

    async def _command(
        self, revocation: Revocation, change: Change | None, committed: Callable[[Event], None]
    ) -> None:
        """Send a command, and return once its receipt arrived."""

        def heard(done: CommittedEvent) -> None:
            committed(
                Event(
                    done.epoch,
                    done.seq,
                    done.at_us,
                    replace(revocation, revocation_id=done.revocation_id),
                )
            )
            for authority in self._world.authorities:
                authority.ends.expect(0)  # as the API does at one of them

        await self._actors._enforce(revocation, None, heard, change)

    async def _change(self, token: Issued, change: Change, what: str) -> Event:
        """Change a token. If that ends it at once, record the promise of the receipt."""
        events: list[Event] = []
        await self._command(
            self._revocation(token, change),
            change,
            lambda event: events.__setitem__(slice(None), [event]),
        )
        at_once = isinstance(change, Expiry) and change.at_us is None
        at_once = at_once or (isinstance(change, Rotation) and not change.overlap_us)
        if at_once:
            promise = EndPromise(events[0], frozenset(), texts=frozenset({token.text}))
            self._promised(promise, token, what)
        return events[0]

    def _promised(self, promise: EndPromise, token: Issued, what: str) -> None:
        if not self._actors._holds(promise.event):
            self._oracle.count["lost in a restore"] += 1
            return
        promise.made_s = now_s()
        self._oracle.promises.append(promise)
        self._ended.append(token)
        self._oracle.count[f"receipts: {what}"] += 1
        for later_s in (0.001, self._random.uniform(0.0, 4.0)):
            self._check([token], later_s)

    async def _end_of(
        self, end: End, texts: Sequence[str], event: Event, at_us: int | None
    ) -> None:
        """Wait for the event of an end, and then for its receipt."""
        self._awaited[end] = now_s()
        handle = f"{'tree' if end.token_hash is None else 'token'}:{end.token_id}"
        token = Issued(texts[0], end.token_id, Kind.AGENT, frozenset(), 0)
        if at_us is not None and not self._world.clock.steps:
            self._by_the_time(token, event, at_us)
        while True:
            await asyncio.sleep(0.05)
            tables = self._cluster.tables
            if tables.end.epoch != event.epoch:
                return  # restored: what was to end may be as it was before
            found = [
                entry.event
                for _, entry in tables.entries
                if entry.event.revocation.actor == actors.SCHEDULED_END
                and entry.event.revocation.selector.handles == (handle,)
            ]
            if found and end not in tables.ending:
                break
        self._awaited.pop(end, None)
        last = found[-1]
        committed = CommittedEvent(last.revocation.revocation_id, last.epoch, last.seq, last.at_us)
        while True:
            authority = self._random.choice(self._world.authorities)
            try:
                async with asyncio.timeout(2.0):
                    await self._actors._receipt(authority, committed)
                break
            except (RescindError, TimeoutError):
                await asyncio.sleep(0.1)
        self._promised(EndPromise(last, frozenset(), texts=frozenset(texts)), token, "end")

    def _by_the_time(self, token: Issued, event: Event, at_us: int) -> None:
        """Record the promise for a time, which counts before the event of the end."""
        left_s = max(0.0, (at_us - self._cluster.time_us(self._cluster.tables)) / 1_000_000)
        promise = EndPromise(event, frozenset(), texts=frozenset({token.text}))
        if self._actors._holds(event):
            promise.made_s = now_s() + left_s
            self._oracle.promises.append(promise)
            self._check([token], left_s + 0.001)

    # What is seen of it -------------------------------------------------------------------------

    def heard(
        self, verifier: "SimulatedVerifier", token: Issued, verdict: Verdict, started_s: float
    ) -> None:
        """Record a verifier that accepts a token which it denied as expired before."""
        place = (id(verifier), verifier.instance, token.text)
        if isinstance(verdict, Allowed):
            if self._expired.get(place, started_s) < started_s:
                self._oracle.wrong.append(
                    f"at {started_s:.3f} s a verifier accepts what it denied as expired at "
                    f"{self._expired[place]:.3f} s"
                )
        elif verdict.reason is Reason.EXPIRED:
            self._expired.setdefault(place, now_s())

    def finish(self) -> None:
        """Record ends without an event, in a run without faults."""
        if not self._world.plan.quiet or self._world.clock.steps:
            return
        for end, since_s in self._awaited.items():
            if now_s() - since_s > _END_IS_LATE_S:
                self._oracle.wrong.append(f"no event has ended {end}, asked for at {since_s:.3f} s")
