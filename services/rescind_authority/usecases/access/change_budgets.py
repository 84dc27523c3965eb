"""What holders of tokens may change at the authority in a while: a token bucket for each of them.

A delegation is a row; a rotation or a logout is an event for ever, which every verifier applies, so
it costs more. A change counts for the token that authorises it, and for the subject at the root of
its delegation, so that many agents of one subject have a common bound. Each authority counts for
itself, and forgets the account that was idle longest.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import IntEnum
from math import ceil

from rescind.core.record import Record
from rescind_authority.errors import TooManyChangesError
from rescind_authority.ports.clock import Clock

MOST_ACCOUNTS = 16_384
BURST_S = 50
"""For how many seconds of the rate an account that was idle suffices at once."""
TOKENS_OF_A_SUBJECT = 4
"""How many times the budget of a token the one of a subject is."""

_NS_PER_S = 1_000_000_000


class Cost(IntEnum):
    """What a change takes from a budget."""

    DELEGATION = 1
    EVENT = 50


@dataclass(slots=True)
class _Account:
    left: float
    at_ns: int


class Budgets:
    """Keep an account for each token and each subject that changed something lately."""

    def __init__(self, clock: Clock, *, per_s: float, most: int = MOST_ACCOUNTS) -> None:
        self._clock = clock
        self._per_s = per_s
        self._most = most
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    def __len__(self) -> int:
        return len(self._accounts)

    def take(self, bearer: Record, cost: Cost, *, last: bool = False) -> None:
        """Deduct the cost of a change from the budgets of a token and its subject, or from neither.

        The last change is the one that ends the token. It has a budget of its own: a thief who uses
        up the others keeps the owner from nothing but more of the same.
        Raises TooManyChangesError, which says when there will be enough.
        """
        now_ns = self._clock.monotonic_raw_ns()
        root = bearer.chain[0] if bearer.chain else bearer.subject
        # The first word is the kind of account: no subject is taken for a token.
        rates = (
            {f"last {bearer.token_id}": self._per_s}
            if last
            else {
                f"token {bearer.token_id}": self._per_s,
                f"subject {root}": self._per_s * TOKENS_OF_A_SUBJECT,
            }
        )
        accounts = [(self._account(name, per_s, now_ns), per_s) for name, per_s in rates.items()]
        short_s = max((cost - account.left) / per_s for account, per_s in accounts)
        if short_s > 0:
            raise TooManyChangesError(ceil(short_s))
        for account, _ in accounts:
            account.left -= cost

    def _account(self, name: str, per_s: float, now_ns: int) -> _Account:
        most = max(per_s * BURST_S, Cost.EVENT)
        account = self._accounts.get(name)
        if account is None:
            if len(self._accounts) >= self._most:
                self._accounts.popitem(last=False)
            account = self._accounts[name] = _Account(most, now_ns)
        self._accounts.move_to_end(name)
        earned = (now_ns - account.at_ns) / _NS_PER_S * per_s
        account.left, account.at_ns = min(most, account.left + earned), now_ns
        return account
