"""The records in a sidecar's memory, bounded in number and in bytes.

Above a bound, the least recently used record is dropped. Its token is looked up again when it is
presented.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from sys import getsizeof

from rescind.core.record import Record

CAPACITY = 100_000
BYTES_EACH = 4_000
"""The limit of a record's average size, in bytes: 400 MB for 100,000 records."""

_LEAST_BYTES = 1 << 20
_FIXED_BYTES = 1_050  # the objects of every record, its place in the dict, its window, its slots
_ROUNDED = 16  # the most by which an allocation exceeds its object
_AGAIN_NS = 60 * 10**9


@dataclass(frozen=True, slots=True)
class Window:
    """The time in which a record may be accepted, in CLOCK_BOOTTIME nanoseconds.

    After `until_ns`, the record must be judged again.
    """

    not_before_ns: int
    until_ns: int


@dataclass(slots=True)
class CachedRecord:
    """A record as it was received, and `valid_at`: no event up to this position hits it.

    `window` is the result when the record's times were last judged, at most five minutes ago.
    `again_ns` is the time of the next report to the authority that this ended token is presented.
    """

    record: Record
    payload: bytes
    slots: tuple[int, ...]
    valid_at: int
    window: Window | None = None
    again_ns: int | None = None
    weight: int = 0
    """Bytes in memory, an upper estimate; 0 until the record is stored."""

    def report_due(self, now_ns: int, *, reuse_ns: int) -> bool:
        """Return True if a report is due to the authority that this ended token is presented.

        The token may be a rotated secret that another party has. Reports are due when the token
        ends, at `reuse_ns`, after which its use counts as reuse, and from then on once a minute
        while the token is presented.
        """
        if self.window is not None:
            return True
        if self.again_ns is None:
            again_ns = now_ns + _AGAIN_NS
            self.again_ns = min(again_ns, reuse_ns) if now_ns < reuse_ns else again_ns
        return now_ns >= self.again_ns


class RecordCache:
    """Store records by the SHA-256 of their token."""

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._most_bytes = max(_LEAST_BYTES, capacity * BYTES_EACH)
        self.bytes = 0
        self._records: OrderedDict[bytes, CachedRecord] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, token_hash: bytes) -> bool:
        return token_hash in self._records

    def get(self, token_hash: bytes) -> CachedRecord | None:
        """Return a record, and mark it as the most recently used."""
        cached = self._records.get(token_hash)
        if cached is not None:
            self._records.move_to_end(token_hash)
        return cached

    def put(self, cached: CachedRecord) -> None:
        """Store a record, and drop the least recently used ones above a bound."""
        self.drop(cached.record.token_hash)
        cached.weight = weight(cached)
        self.bytes += cached.weight
        self._records[cached.record.token_hash] = cached
        while len(self._records) > self._capacity or self.bytes > self._most_bytes:
            _, oldest = self._records.popitem(last=False)
            self.bytes -= oldest.weight

    def drop(self, token_hash: bytes) -> None:
        """Remove a record."""
        cached = self._records.pop(token_hash, None)
        if cached is not None:
            self.bytes -= cached.weight


def weight(cached: CachedRecord) -> int:
    """Return an upper estimate of the memory that a record takes, in bytes."""
    record, conditions = cached.record, cached.record.conditions
    texts: Iterable[Iterable[str]] = (
        *(record.handles, record.granted, record.audience, record.lineage, record.chain),
        *(record.removed, conditions.addresses, *record.labels, *conditions.verifier),
        *((each.revocation_id, each.effect) for each in record.restrictions),
        (record.subject, record.token_id, *(_list_optional_texts(record))),
    )
    # Each text also takes a place in a list; scopes and removed scopes take one in matchers, too.
    sizes = [getsizeof(text) + _ROUNDED for text in chain.from_iterable(texts)]
    places = (
        len(record.handles)
        + len(record.lineage)
        + len(record.chain)
        + 8 * len(record.labels)
        + 8 * len(conditions.verifier)
        + len(conditions.addresses)
        + 16 * len(record.restrictions)
        + len(cached.slots)
    )
    matcher_bytes = (
        4 * getsizeof(record.granted) + getsizeof(record.audience) + 40 * len(record.removed)
    )
    if record.removed:
        matcher_bytes += getsizeof(record.scopes)  # the remaining scopes are a set of their own
    return _FIXED_BYTES + getsizeof(cached.payload) + sum(sizes) + 8 * places + matcher_bytes


def _list_optional_texts(record: Record) -> Iterable[str]:
    return (text for text in (record.tenant, record.client, record.session) if text)
