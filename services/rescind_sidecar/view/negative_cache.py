"""A negative cache: tokens that the authority does not know, for a second.

A client that keeps presenting a token that was never issued, or was deleted, costs one look-up a
second. A token that is issued in that second is accepted that much later. That is rare: only a
forged token is presented before it is issued, and the edge key's tag drops those earlier.
"""

from collections import OrderedDict

FOR_NS = 1_000_000_000
CAPACITY = 16_384


class NegativeCache:
    """Remember tokens by their SHA-256; of too many, the one remembered first goes."""

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        # Of a plain dict, finding the first key takes longer the more were taken out before it.
        self._until_ns: OrderedDict[bytes, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until_ns)

    def add(self, token_hash: bytes, now_ns: int) -> None:
        """Remember a token from now on (CLOCK_BOOTTIME)."""
        # Taken out first, so that the order stays the order of the times.
        self._until_ns.pop(token_hash, None)
        if len(self._until_ns) >= self._capacity:
            self._until_ns.popitem(last=False)
        self._until_ns[token_hash] = now_ns + FOR_NS

    def has(self, token_hash: bytes, now_ns: int) -> bool:
        """Return True if a token is not known, and that is still fresh."""
        until_ns = self._until_ns.get(token_hash)
        if until_ns is None:
            return False
        if now_ns < until_ns:
            return True
        del self._until_ns[token_hash]
        return False
