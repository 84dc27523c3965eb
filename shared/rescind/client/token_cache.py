"""The tokens that this process has checked against the table of one sidecar instance."""

import threading
from itertools import islice

from rescind.client.interning import Interner
from rescind.core import token_format
from rescind.core.generation_table import DEADLINE, HEADER_WORDS, SlotVersions
from rescind.core.token_format import TokenHash
from rescind.core.verdict import Allowed
from rescind.errors import MalformedMessageError
from rescind.wire import records
from rescind.wire.socket_protocol import Entry


class CachedToken(SlotVersions):
    """A record, and the slots by which it is checked. Replaced whole; only `generation` changes.

    A change in place would be unsound: two threads could then keep an old record alive for ever.
    """

    __slots__ = ("allowed", "deadline", "not_before_ns", "until_ns")

    def __init__(
        self, token: str | TokenHash, entry: Entry, *, words: int, shared: Interner
    ) -> None:
        record = records.decode(entry.record)
        if record.token_hash != token_format.digest(token):
            raise MalformedMessageError("entry", "the record of another token")
        if min(entry.slots) < HEADER_WORDS or max(entry.slots) >= words:
            # A word of the header may never change, and so would never show a hit.
            raise MalformedMessageError("entry", "a slot outside the table")
        self.allowed = Allowed(shared.intern_record(record))
        self.deadline = DEADLINE[record.kind]
        self.not_before_ns = entry.not_before_ns
        self.until_ns = entry.until_ns
        stamps = shared.intern(entry.stamps)
        super().__init__(slots=entry.slots, values=stamps, generation=entry.generation)


class TokenCache:
    """A cache of at most `most_entries` tokens. Above that, the oldest entries are dropped.

    A check reads `tokens` without a lock. Only changes acquire the lock.
    """

    def __init__(self, most_entries: int) -> None:
        self.most_entries = most_entries
        self.tokens: dict[str | TokenHash, CachedToken] = {}
        self._changing = threading.Lock()
        self._shared = Interner()

    def store(self, token: str | TokenHash, entry: Entry, *, words: int) -> None:
        """Store the sidecar's entry for a token, for a table of this number of words.

        Raises MalformedMessageError.
        """
        cached = CachedToken(token, entry, words=words, shared=self._shared)
        with self._changing:
            tokens = self.tokens
            if token not in tokens and len(tokens) >= self.most_entries:
                # Drop several at a time: finding the first key of a dict takes longer the more keys
                # were deleted before it (20 µs each at 100,000).
                for oldest in list(islice(tokens, 1 + self.most_entries // 64)):
                    del tokens[oldest]
            tokens[token] = cached

    def forget(self, token: str | TokenHash) -> None:
        """Drop the entry of a token, if there is one."""
        with self._changing:
            self.tokens.pop(token, None)
