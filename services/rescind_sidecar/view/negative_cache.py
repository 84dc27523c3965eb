"""A negative cache: the tokens that the authority did not find, each for one second.

A client that keeps presenting a token that was never issued, or was deleted, causes one look-up a
second. A token that is issued within that second is accepted that much later. That is rare: only a
forged token is presented before it is issued, and the edge key's tag rejects forged tokens earlier.
"""

from collections import OrderedDict

FOR_NS = 1_000_000_000
CAPACITY = 16_384


class NegativeCache:
    """Store tokens by their SHA-256; above the capacity, drop the oldest."""

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        # In a plain dict, each key that was deleted at the front slows the search for the first.
        self._until_ns: OrderedDict[bytes, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until_ns)

    def add(self, token_hash: bytes, now_ns: int) -> None:
        """Store a token for one second from now (CLOCK_BOOTTIME)."""
        # The old entry is removed first, so that the entries stay in the order of their times.
        self._until_ns.pop(token_hash, None)
        if len(self._until_ns) >= self._capacity:
            self._until_ns.popitem(last=False)
        self._until_ns[token_hash] = now_ns + FOR_NS

    def has(self, token_hash: bytes, now_ns: int) -> bool:
        """Return True if the authority did not find a token within the last second."""
        until_ns = self._until_ns.get(token_hash)
        if until_ns is None:
            return False
        if now_ns < until_ns:
            return True
        del self._until_ns[token_hash]
        return False
