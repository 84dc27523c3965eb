"""Go through the token table, however large: each page in bounded time, each count up to a bound.

Where some index leads straight to the tokens wanted, and they are few, it is asked. Otherwise the
table is walked, newest first, along the index that comes closest, until the page is full or enough
time has gone: what was not found by then is left to the next page.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rescind.core import handles, ids
from rescind.core.handles import Handle
from rescind_authority.ports import Along, TokenFilter, Tokens
from rescind_runtime.clock import Clock

EXACT_UP_TO = 10_000
_EXPECTED_FEW = 50_000  # the planner errs, and to find that out costs a millisecond
_STEPS = 1_000
_PAGE_NS = 25_000_000
_COUNT_NS = 25_000_000
_SAMPLE = 10_000
_US_PER_MS = 1_000
# An id is made by an authority's clock, a token's time is Postgres's: so far they may be apart.
_APART_MS = 3_600_000
_ORDERED = ("subject", "client", "tenant")
_NEWEST = "tok_" + "z" * 27
_OLDEST = ""


@dataclass(frozen=True, slots=True)
class Found:
    """Some token ids, newest first. `next` is where the others begin: None at the end."""

    token_ids: Sequence[str]
    next: str | None


@dataclass(frozen=True, slots=True)
class Count:
    """How many tokens there are: an estimate, unless `exact`."""

    tokens: int
    exact: bool


class Lister:
    """Find tokens and count them; change nothing."""

    def __init__(self, tokens: Tokens, *, clock: Clock) -> None:
        self._tokens = tokens
        self._clock = clock

    async def page(self, wanted: TokenFilter, *, before: str | None, limit: int) -> Found:
        """Find up to so many; less than that, or none, are not the end unless `next` says so."""
        newest = min(before or _NEWEST, _newest(wanted))
        few = await self._few(wanted, before=newest, most=limit + 1)
        if few is not None:
            return _cut(few, limit)
        found: list[str] = []
        began_ns, last = self._clock.monotonic_raw_ns(), newest
        while True:
            walked = await self._tokens.walk(
                wanted,
                along(wanted.handles),
                before=last,
                after=_oldest(wanted),
                steps=_STEPS,
                most=limit + 1 - len(found),
            )
            found += walked.token_ids
            if len(found) > limit or walked.last is None:
                return _cut(found, limit)
            last = walked.last
            if self._clock.monotonic_raw_ns() - began_ns > _PAGE_NS:
                return Found(found, last)

    async def count(self, wanted: TokenFilter) -> Count:
        """Count what is at most 10,000, or lies among so many; estimate the rest by a sample."""
        newest = _newest(wanted)
        few = await self._few(wanted, before=newest, most=EXACT_UP_TO)
        if few is not None:
            return Count(len(few), exact=True)
        found = steps = 0
        began_ns, last = self._clock.monotonic_raw_ns(), newest
        while found <= EXACT_UP_TO and (
            steps <= EXACT_UP_TO or self._clock.monotonic_raw_ns() - began_ns < _COUNT_NS
        ):
            walked = await self._tokens.walk(
                wanted,
                along(wanted.handles),
                before=last,
                after=_oldest(wanted),
                steps=_STEPS,
                most=_STEPS,
            )
            found, steps = found + len(walked.token_ids), steps + _STEPS
            if walked.last is None:
                return Count(found, exact=True)
            last = walked.last
        return Count(max(found, await self._tokens.sample(wanted, size=_SAMPLE)), exact=False)

    async def _few(self, wanted: TokenFilter, *, before: str, most: int) -> tuple[str, ...] | None:
        """Ask the index of all handles, unless the way leads there as well, or they are many."""
        led_by = along(wanted.handles)
        if all(each == f"{led_by.index}:{led_by.name}" for each in wanted.handles):
            return None
        if await self._tokens.estimate(wanted.handles) > _EXPECTED_FEW:
            return None
        return await self._tokens.few(wanted, before=before, most=most, bound=EXACT_UP_TO)


def along(named: Collection[Handle]) -> Along:
    """Choose the index to walk along: the narrowest that gives tokens in the order of their ids."""
    values = {handles.kind_of(each): each.partition(":")[2] for each in named}
    for kind in _ORDERED:
        if kind in values:
            return Along(kind, values[kind])
    return Along("id", "")


def _cut(found: Sequence[str], limit: int) -> Found:
    return Found(found[:limit], found[limit - 1] if len(found) > limit else None)


def _newest(wanted: TokenFilter) -> str:
    """Give an id above all that can have been issued in time."""
    if wanted.issued_before_us is None:
        return _NEWEST
    return _id_at(wanted.issued_before_us // _US_PER_MS + _APART_MS)


def _oldest(wanted: TokenFilter) -> str:
    """Give an id below all that can have been issued in time."""
    if wanted.issued_after_us is None:
        return _OLDEST
    return _id_at(wanted.issued_after_us // _US_PER_MS - _APART_MS)


def _id_at(ms: int) -> str:
    return ids.make("tok", now_ms=min(max(ms, 0), ids.LATEST_MS), entropy=bytes(ids.ENTROPY_BYTES))
