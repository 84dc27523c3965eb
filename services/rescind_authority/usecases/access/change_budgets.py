"""Budgets for the changes of token holders: one token bucket for each token and subject.

A delegation adds a row. A rotation or a logout adds an event for ever, which every verifier
applies, so it costs more. A change is charged to the token that authorises it, and to the subject
at the root of its delegation, so that many agents of one subject share a bound. Each authority
counts separately, and drops the account that was idle longest when there are too many.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import IntEnum
from math import ceil

from rescind.core.record import Record
from rescind_authority.errors import TooManyChangesError
from rescind_authority.ports.clock import Clock

MAX_BUDGETS = 16_384
BURST_S = 50
"""The capacity of an account, in seconds of its rate."""
TOKENS_OF_A_SUBJECT = 4
"""The ratio of a subject's budget to a token's budget."""

_NS_PER_S = 1_000_000_000


class Cost(IntEnum):
    """The cost of a change in a budget."""

    DELEGATION = 1
    EVENT = 50


@dataclass(slots=True)
class _Bucket:
    left: float
    at_ns: int


class Budgets:
    """The accounts of tokens and subjects with recent changes."""

    def __init__(self, clock: Clock, *, per_s: float, most: int = MAX_BUDGETS) -> None:
        self._clock = clock
        self._per_s = per_s
        self._most = most
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(
        self, bearer: Record, cost: Cost, *, last: bool = False, client: str | None = None
    ) -> None:
        """Deduct the cost of a change from the budgets of a token and its subject, or from neither.

        A `last` change ends the token, and has a budget of its own: a thief who uses up the other
        budgets cannot prevent the owner from ending the token. The OAuth client that ends it has
        a budget too: it gets tokens at a low cost, and each end is an event. Raises
        TooManyChangesError, which states when the budget will suffice.
        """
        now_ns = self._clock.monotonic_raw_ns()
        root = bearer.chain[0] if bearer.chain else bearer.subject
        # The first word is the kind of account: a subject is never mistaken for a token.
        rates = (
            {f"last {bearer.token_id}": self._per_s}
            if last
            else {
                f"token {bearer.token_id}": self._per_s,
                f"subject {root}": self._per_s * TOKENS_OF_A_SUBJECT,
            }
        )
        if client is not None:
            rates[f"client {client}"] = self._per_s * TOKENS_OF_A_SUBJECT
        accounts = [(self._bucket_of(name, per_s, now_ns), per_s) for name, per_s in rates.items()]
        short_s = max((cost - account.left) / per_s for account, per_s in accounts)
        if short_s > 0:
            raise TooManyChangesError(ceil(short_s))
        for account, _ in accounts:
            account.left -= cost

    def _bucket_of(self, name: str, per_s: float, now_ns: int) -> _Bucket:
        most = max(per_s * BURST_S, Cost.EVENT)
        account = self._buckets.get(name)
        if account is None:
            if len(self._buckets) >= self._most:
                self._buckets.popitem(last=False)
            account = self._buckets[name] = _Bucket(most, now_ns)
        self._buckets.move_to_end(name)
        earned = (now_ns - account.at_ns) / _NS_PER_S * per_s
        account.left, account.at_ns = min(most, account.left + earned), now_ns
        return account
