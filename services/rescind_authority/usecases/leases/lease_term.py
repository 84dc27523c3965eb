"""Change the lease term at run time, in steps that keep every lease covered by a wait.

To lengthen: raise the wait term, then the grant term. To shorten: lower the grant term, let one old
wait pass, in which the longer leases end, then lower the wait term (design 7). The requested term
is in the head row, so any authority that runs takes the next step. An authority that takes over
waits from its own first read of the row, which is never too short.
"""

import asyncio
from dataclasses import dataclass

import structlog

from rescind.core import lease
from rescind_authority.errors import FieldError, InvalidRequestError
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.leases import Term, Terms
from rescind_authority.usecases.step_timer import run_steps

MIN_TERM_MS = 500
"""With a shorter term, one slow heartbeat would deny every check."""

_POLL_S = 5.0  # how late a step may be if the authority that received the request died
_NS_PER_S = 1_000_000_000

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class Move:
    """Write these terms now."""

    grant_ms: int
    wait_ms: int


@dataclass(frozen=True, slots=True)
class NotYet:
    """Leave the terms as they are until `until_ns` (CLOCK_MONOTONIC_RAW)."""

    until_ns: int


@dataclass(frozen=True, slots=True)
class Settled:
    """The requested term is in effect."""


def decide(term: Term, *, seen_ns: int, now_ns: int) -> Move | NotYet | Settled:
    """Return the next step towards the term that was requested.

    `seen_ns` is when this version of the row was first seen, or later.
    """
    if term.wait_ms < term.target_ms:
        return Move(term.grant_ms, term.target_ms)
    if term.grant_ms != term.target_ms:
        return Move(term.target_ms, term.wait_ms)
    if term.wait_ms == term.target_ms:
        return Settled()
    until_ns = seen_ns + lease.wait_ns(term.wait_ms)
    return Move(term.target_ms, term.target_ms) if now_ns >= until_ns else NotYet(until_ns)


class LeaseTermScheduler:
    """Change the terms, step by step, to the requested term."""

    def __init__(self, terms: Terms, *, clock: Clock) -> None:
        self._terms = terms
        self._clock = clock
        self._due = asyncio.Event()
        self._seen: tuple[int, int] = (-1, 0)

    async def get(self) -> Term:
        """Return the current terms, and the one that was requested."""
        return await self._terms.get()

    async def request_term(self, term_ms: int, *, actor: str) -> Term:
        """Store the requested term; the steps follow. Raises InvalidRequestError."""
        if not MIN_TERM_MS <= term_ms <= lease.MAX_TERM_MS:
            raise InvalidRequestError(
                FieldError("term_ms", f"expected {MIN_TERM_MS} to {lease.MAX_TERM_MS}")
            )
        term = await self._terms.set_target(term_ms, actor=actor)
        _log.info(
            "another lease term was requested", action="term.asked", actor=actor, term_ms=term_ms
        )
        self._due.set()
        return term

    async def run(self) -> None:
        """Run the steps that are due, until cancelled."""
        await run_steps(self._due, self._step, retry_s=_POLL_S)

    async def _step(self) -> float:
        """Run one step, and return the number of seconds until the next one."""
        term = await self._terms.get()
        now_ns = self._clock.monotonic_raw_ns()  # after the read: a wait never begins too early
        if self._seen[0] != term.version:
            self._seen = (term.version, now_ns)
        match decide(term, seen_ns=self._seen[1], now_ns=now_ns):
            case Settled():
                return _POLL_S
            case NotYet(until_ns):
                return min(_POLL_S, (until_ns - now_ns) / _NS_PER_S)
            case Move(grant_ms, wait_ms):
                if await self._terms.move(term.version, grant_ms=grant_ms, wait_ms=wait_ms):
                    _log.info(
                        "the lease terms changed",
                        action="term.moved",
                        grant_term_ms=grant_ms,
                        wait_term_ms=wait_ms,
                    )
                return 0
