"""Changing the term: every lease has a wait that covers it, whichever process dies in between."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.clocks import ManualClock

from rescind.core import lease
from rescind_authority.errors import InvalidRequestError
from rescind_authority.ports.leases import Term
from rescind_authority.usecases.leases.lease_term import (
    LeaseTermScheduler,
    Move,
    NotYet,
    Settled,
    decide,
)

NOW_NS = 10**12
TERMS_MS = st.integers(1, 50).map(lambda number: number * 1000)


def term(grant_ms: int, wait_ms: int, target_ms: int) -> Term:
    return Term(grant_ms, wait_ms, target_ms, version=1)


def step(term: Term, *, after_ns: int = 0) -> Move | NotYet | Settled:
    return decide(term, seen_ns=NOW_NS, now_ns=NOW_NS + after_ns)


def test_lengthening_the_term_raises_the_wait_first() -> None:
    assert step(term(10_000, 10_000, 30_000)) == Move(10_000, 30_000)
    assert step(term(10_000, 30_000, 30_000)) == Move(30_000, 30_000)
    assert step(term(30_000, 30_000, 30_000)) == Settled()


def test_shortening_the_term_lowers_the_grant_first_and_then_one_old_wait_passes() -> None:
    assert step(term(30_000, 30_000, 10_000)) == Move(10_000, 30_000)
    old_wait_ns = lease.wait_ns(30_000)
    lowered = term(10_000, 30_000, 10_000)
    assert step(lowered) == NotYet(NOW_NS + old_wait_ns)
    assert step(lowered, after_ns=old_wait_ns - 1) == NotYet(NOW_NS + old_wait_ns)
    assert step(lowered, after_ns=old_wait_ns) == Move(10_000, 10_000)


@given(wishes=st.lists(st.tuples(TERMS_MS, st.integers(0, 60)), min_size=1, max_size=8))
def test_every_lease_ends_within_a_wait_whatever_terms_are_requested_when(
    wishes: list[tuple[int, int]],
) -> None:
    """Grant a lease at every step, and at every step compare with what a waiter would wait."""
    now, seen_ns, ends_ns = term(10_000, 10_000, 10_000), 0, 0
    clock_ns = 0
    for target_ms, pause_s in wishes:
        now, seen_ns = replace(now, target_ms=target_ms), clock_ns
        until_ns = clock_ns + pause_s * 10**9
        while True:
            ends_ns = max(ends_ns, clock_ns + lease.wait_ns(now.grant_ms))
            assert ends_ns <= clock_ns + lease.wait_ns(now.wait_ms)
            match decide(now, seen_ns=seen_ns, now_ns=clock_ns):
                case Settled():
                    break
                case NotYet(patience_ns) if patience_ns > until_ns:
                    break
                case NotYet(patience_ns):
                    clock_ns = patience_ns
                case Move(grant_ms, wait_ms):
                    assert wait_ms >= grant_ms
                    now, seen_ns = replace(now, grant_ms=grant_ms, wait_ms=wait_ms), clock_ns
        clock_ns = max(clock_ns, until_ns)


class TermsInMemory:
    """The head row of a ledger in memory (port Terms)."""

    def __init__(self, now: Term) -> None:
        self.now = now
        self.history = [now]

    async def get(self) -> Term:
        return self.now

    async def set_target(self, term_ms: int, *, actor: str) -> Term:
        assert actor
        self._write(replace(self.now, target_ms=term_ms))
        return self.now

    async def move(self, version: int, *, grant_ms: int, wait_ms: int) -> bool:
        if version != self.now.version:
            return False
        self._write(replace(self.now, grant_ms=grant_ms, wait_ms=wait_ms))
        return True

    def _write(self, term: Term) -> None:
        self.now = replace(term, version=self.now.version + 1)
        self.history.append(self.now)


async def test_an_authority_that_takes_over_waits_anew_from_its_own_first_read() -> None:
    terms, clock = TermsInMemory(term(10_000, 30_000, 10_000)), ManualClock()
    first = LeaseTermScheduler(terms, clock=clock)
    await first._step()
    clock.now_ns += lease.wait_ns(30_000) - 1
    second = LeaseTermScheduler(terms, clock=clock)  # the first one died
    await second._step()
    clock.now_ns += lease.wait_ns(30_000) - 1
    await second._step()
    assert terms.now.wait_ms == 30_000
    clock.now_ns += 1
    await second._step()
    assert terms.now.wait_ms == 10_000


async def test_a_term_that_is_requested_meanwhile_restarts_the_wait() -> None:
    """Else a term that was raised and lowered in between would be taken for one that stood."""
    terms, clock = TermsInMemory(term(10_000, 30_000, 10_000)), ManualClock()
    keeper = LeaseTermScheduler(terms, clock=clock)
    await keeper._step()
    clock.now_ns += lease.wait_ns(30_000)
    await terms.set_target(10_000, actor="admin:a")
    await keeper._step()
    assert terms.now.wait_ms == 30_000


async def test_two_authorities_take_no_step_twice() -> None:
    terms, clock = TermsInMemory(term(10_000, 10_000, 30_000)), ManualClock()
    keepers = [LeaseTermScheduler(terms, clock=clock) for _ in range(2)]
    for _ in range(3):
        async with asyncio.TaskGroup() as tasks:
            for keeper in keepers:
                tasks.create_task(keeper._step())
    assert [(each.grant_ms, each.wait_ms) for each in terms.history] == [
        (10_000, 10_000),
        (10_000, 30_000),
        (30_000, 30_000),
    ]


@pytest.mark.parametrize("term_ms", [-1, 0, 499, lease.MAX_TERM_MS + 1])
async def test_a_term_outside_the_allowed_range_changes_nothing(term_ms: int) -> None:
    terms = TermsInMemory(term(10_000, 10_000, 10_000))
    with pytest.raises(InvalidRequestError):
        await LeaseTermScheduler(terms, clock=ManualClock()).request_term(term_ms, actor="admin:a")
    assert len(terms.history) == 1
