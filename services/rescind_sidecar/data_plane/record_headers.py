"""The headers that tell an upstream who calls, and a cache of them in the form of a protocol."""

import re
from collections.abc import Callable, Iterable
from urllib.parse import quote

from rescind.core import scopes
from rescind.core.record import Record

NAMES = (
    "x-rescind-subject",
    "x-rescind-kind",
    "x-rescind-token-id",
    "x-rescind-scopes",
    "x-rescind-scopes-removed",
    "x-rescind-scopes-removed-count",
    "x-rescind-chain",
)
"""The headers of a record, in lower case."""

AS_OF = "x-rescind-as-of"
"""The header of the position that the answer covers. It changes more often than a record."""

MAX_CACHED = 10_000
CACHE_BYTES = 16 << 20

_VISIBLE = re.compile(r"[!-$&-~]*")
_VISIBLE_BUT_PERCENT = "!\"#$&'()*+,/:;<=>?@[\\]^`{|}"


class HeaderCache:
    """The encoded headers of records: a record does not change at a position.

    The cache contains no verdicts. Above its bounds, the oldest headers are dropped.
    """

    def __init__(self, encode: Callable[[Record], bytes]) -> None:
        self._encode = encode
        self._cached: dict[tuple[bytes, int, int], bytes] = {}
        self._cached_bytes = 0

    def find(self, record: Record) -> bytes:
        """Return the encoded headers of a record."""
        key = (record.token_hash, record.epoch, record.as_of)
        return self._cached.get(key) or self._add(key, record)

    def _add(self, key: tuple[bytes, int, int], record: Record) -> bytes:
        headers = self._encode(record)
        self._cached_bytes += len(headers)
        while self._cached and (
            len(self._cached) >= MAX_CACHED or self._cached_bytes > CACHE_BYTES
        ):
            self._cached_bytes -= len(self._cached.pop(next(iter(self._cached))))
        self._cached[key] = headers
        return headers


def describe(record: Record) -> list[tuple[str, str]]:
    """Return the headers NAMES of a record. The texts are visible ASCII and spaces.

    Empty ones are included, so that a proxy removes what the caller sent.
    """
    texts = (
        _encode_visible(record.subject),
        record.kind,
        _encode_visible(record.token_id),
        _encode_list(sorted(record.scopes)),
        _encode_list(scopes.reported(record.removed)),
        str(len(record.removed)),
        _encode_list(record.chain),
    )
    return list(zip(NAMES, texts, strict=True))


def _encode_list(texts: Iterable[str]) -> str:
    return " ".join(map(_encode_visible, texts))


def _encode_visible(text: str) -> str:
    """Percent-encode `%` and all but visible ASCII: no text ends a header or splits a list."""
    return text if _VISIBLE.fullmatch(text) else quote(text, safe=_VISIBLE_BUT_PERCENT)
