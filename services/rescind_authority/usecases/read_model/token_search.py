"""Search the token table, however large: each page in bounded time, each count up to a bound.

If an index leads directly to the wanted tokens, and they are few, that index is queried. Otherwise
the table is walked, newest first, along the closest index, until the page is full or the time is
used up. The next page then continues the walk.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rescind.core import handles, public_ids
from rescind.core.handles import Handle
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.token_search import Sample, ScanIndex, TokenFilter, Tokens

EXACT_UP_TO = 10_000
EXPECTED_FEW = 50_000  # the planner errs, and to find that out costs a millisecond
_STEPS = 1_000
_PAGE_NS = 20_000_000
_COUNT_NS = 15_000_000
_ENOUGH = 30
_SAMPLE = 1_500
_US_PER_MS = 1_000
# The greatest difference of an authority's clock (in ids) and Postgres's (in times of tokens).
_MAX_CLOCK_DIFFERENCE_MS = 3_600_000
_REVOKED, _SUSPENDED = "revoked", "suspended"
_REVOKED_SCAN = ScanIndex("revoked", "")
_ORDERED = ("subject", "client", "tenant")
NEWEST = "tok_" + "z" * 27
OLDEST = ""


@dataclass(frozen=True, slots=True)
class FoundTokens:
    """Some token ids, newest first. `next` is the cursor to the others: None at the end."""

    token_ids: Sequence[str]
    next: str | None


@dataclass(frozen=True, slots=True)
class Count:
    """A number of tokens: an estimate, unless `exact`."""

    tokens: int
    exact: bool


class TokenSearch:
    """Find and count tokens, and change nothing."""

    def __init__(self, tokens: Tokens, *, clock: Clock) -> None:
        self._tokens = tokens
        self._clock = clock

    async def page(
        self, token_filter: TokenFilter, *, before: str | None, limit: int
    ) -> FoundTokens:
        """Return at most `limit` token ids.

        A page may be shorter, or empty, before the end: only `next` marks the end.
        """
        newest = min(before or NEWEST, _newest_id(token_filter))
        few = await self._list_few(token_filter, before=newest, most=limit + 1)
        if few is not None:
            return _page_of(few, limit)
        scan = await self._choose_scan(token_filter)
        if scan is None:
            return FoundTokens((), None)
        found: list[str] = []
        began_ns, last = self._clock.monotonic_raw_ns(), newest
        while True:
            walked = await self._tokens.walk(
                token_filter,
                scan,
                before=last,
                after=_oldest_id(token_filter),
                steps=_STEPS,
                most=limit + 1 - len(found),
            )
            found += walked.token_ids
            if len(found) > limit or walked.last is None:
                return _page_of(found, limit)
            last = walked.last
            if self._clock.monotonic_raw_ns() - began_ns > _PAGE_NS:
                return FoundTokens(found, last)

    async def count(self, token_filter: TokenFilter) -> Count:
        """Count up to 10,000 tokens within the time limit, and estimate the rest."""
        expected = await self._tokens.estimate(token_filter.handles)
        if _has_handles_alone(token_filter) and expected > EXPECTED_FEW:
            return Count(expected, exact=False)
        scan = await self._choose_scan(token_filter)
        if scan is None:
            return Count(0, exact=True)
        if _leads_to_these_alone(scan, token_filter):
            return await self._count_along(scan, expected)
        few = await self._list_few(token_filter, before=_newest_id(token_filter), most=EXACT_UP_TO)
        if few is not None:
            return Count(len(few), exact=True)
        return await self._count_in_reach(token_filter, scan, expected)

    async def _count_along(self, scan: ScanIndex, expected: int) -> Count:
        """Count all tokens along an index."""
        found = await self._tokens.count_along(scan, most=EXACT_UP_TO + 1)
        if found <= EXACT_UP_TO:
            return Count(found, exact=True)
        if scan == _REVOKED_SCAN:
            expected = (await self._tokens.revoked_marks()).tokens
        return Count(max(found, expected), exact=False)

    async def _count_in_reach(
        self, token_filter: TokenFilter, scan: ScanIndex, expected: int
    ) -> Count:
        """Count the tokens that may lie within reach, or estimate their share of those expected."""
        found = 0
        if (
            scan == _REVOKED_SCAN
            or expected <= EXPECTED_FEW
            or token_filter.issued_after_us is not None
        ):
            counted = await self._walk(token_filter, scan)
            if counted.exact:
                return counted
            found = counted.tokens
        if not _has_handles_alone(token_filter):
            expected = round(
                expected * _wanted_share(await self._tokens.sample(token_filter, size=_SAMPLE))
            )
        return Count(max(found, expected), exact=False)

    async def _walk(self, token_filter: TokenFilter, scan: ScanIndex) -> Count:
        """Count the wanted tokens along an index, within the time limit."""
        found, last, began_ns = 0, _newest_id(token_filter), self._clock.monotonic_raw_ns()
        while found <= EXACT_UP_TO and self._clock.monotonic_raw_ns() - began_ns < _COUNT_NS:
            walked = await self._tokens.walk(
                token_filter,
                scan,
                before=last,
                after=_oldest_id(token_filter),
                steps=_STEPS,
                most=_STEPS,
            )
            found += len(walked.token_ids)
            if walked.last is None:
                return Count(found, exact=True)
            last = walked.last
        return Count(found, exact=False)

    async def _choose_scan(self, token_filter: TokenFilter) -> ScanIndex | None:
        """Return the narrowest index to the wanted tokens, or None if there are no such tokens."""
        scan = narrowest_scan(token_filter.handles)
        if token_filter.state not in (_REVOKED, _SUSPENDED):
            return scan
        marks = await self._tokens.revoked_marks()
        if token_filter.state == _SUSPENDED:
            return scan if marks.suspending else None
        walked = () if scan.index == "id" else (Handle(f"{scan.index}:{scan.name}"),)
        if marks.complete and marks.tokens <= await self._tokens.estimate(walked):
            return _REVOKED_SCAN
        return scan

    async def _list_few(
        self, token_filter: TokenFilter, *, before: str, most: int
    ) -> tuple[str, ...] | None:
        """Query the index of all handles for the wanted tokens.

        Returns None if another index leads there as well, or if too many tokens have the handles.
        """
        if _leads_to_all(narrowest_scan(token_filter.handles), token_filter):
            return None
        if await self._tokens.estimate(token_filter.handles) > EXPECTED_FEW:
            return None
        return await self._tokens.few(token_filter, before=before, most=most, bound=EXACT_UP_TO)


def narrowest_scan(walked: Collection[Handle]) -> ScanIndex:
    """Return the narrowest index to walk along that has the tokens in the order of their ids."""
    values = {handles.kind_of(each): each.partition(":")[2] for each in walked}
    for kind in _ORDERED:
        if kind in values:
            return ScanIndex(kind, values[kind])
    return ScanIndex("id", "")


def _has_handles_alone(token_filter: TokenFilter) -> bool:
    return token_filter == TokenFilter(token_filter.handles)


def _leads_to_all(scan: ScanIndex, token_filter: TokenFilter) -> bool:
    return all(each == f"{scan.index}:{scan.name}" for each in token_filter.handles)


def _leads_to_these_alone(scan: ScanIndex, token_filter: TokenFilter) -> bool:
    if scan == _REVOKED_SCAN:
        return token_filter == TokenFilter(state=_REVOKED)
    return _has_handles_alone(token_filter) and _leads_to_all(scan, token_filter)


def _wanted_share(sample: Sample) -> float:
    """Return the wanted share of the tokens that have the handles.

    If the sample has too few of them, return the share among all tokens instead.
    """
    if sample.having >= _ENOUGH:
        return sample.wanted / sample.having
    return sample.alike / max(1, sample.looked_at)


def _page_of(found: Sequence[str], limit: int) -> FoundTokens:
    return FoundTokens(found[:limit], found[limit - 1] if len(found) > limit else None)


def _newest_id(token_filter: TokenFilter) -> str:
    """Return an id above every id that the time range allows."""
    if token_filter.issued_before_us is None:
        return NEWEST
    return _id_at(token_filter.issued_before_us // _US_PER_MS + _MAX_CLOCK_DIFFERENCE_MS)


def _oldest_id(token_filter: TokenFilter) -> str:
    """Return an id below every id that the time range allows."""
    if token_filter.issued_after_us is None:
        return OLDEST
    return _id_at(token_filter.issued_after_us // _US_PER_MS - _MAX_CLOCK_DIFFERENCE_MS)


def _id_at(ms: int) -> str:
    return public_ids.make(
        "tok", now_ms=min(max(ms, 0), public_ids.LATEST_MS), entropy=bytes(public_ids.ENTROPY_BYTES)
    )
