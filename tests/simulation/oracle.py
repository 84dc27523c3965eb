"""The oracle, which judges a run by its receipts alone, without the rules of the product.

A receipt is a promise: no check that starts after it accepts a token that it denies. The oracle
records every promise with its time, and compares each accepted check with all of them.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from tests.simulation.network import unix_us

from rescind.core.receipt import Receipt
from rescind.core.revocation import Event, Revocation
from rescind.core.token_format import Kind

NEVER_S = 1e9


@dataclass(frozen=True, slots=True)
class Issued:
    """A token as its owner knows it; `family` is itself, its parent, and so on."""

    text: str
    token_id: str
    kind: Kind
    handles: frozenset[str]
    issued_seq: int
    family: tuple["Issued", ...] = ()


@dataclass(slots=True)
class Promise:
    """The tokens that a committed command denies.

    It binds checks that demand its position at once, and every check after its receipt. It ends
    when its lift is requested, or when a scheduled lift is in the ledger. `there` are the ids of
    the tokens that existed when the command was sent: the command denies these at least.
    """

    event: Event
    there: frozenset[str]
    made_s: float = NEVER_S
    receipt: Receipt | None = None
    ends_s: float = NEVER_S

    def takes(self, token: Issued, *, writes: bool) -> bool:
        """Return True if a check of this token, for writing or not, must be denied."""
        revocation = self.event.revocation
        if revocation.effect == "narrow" and not writes:
            return False
        return any(self._names(revocation, each) for each in (token, *token.family))

    def _names(self, revocation: Revocation, token: Issued) -> bool:
        if not set(revocation.selector.handles) <= token.handles:
            return False
        older = token.issued_seq < self.event.seq or token.token_id in self.there
        return older or revocation.effect != "revoke"

    def spares(
        self, instance: bytes, token: Issued, at_s: float, *, strangers: Collection[bytes]
    ) -> bool:
        """Return True if the receipt says that this verifier may go on, in grace.

        It names the verifier; or the ledger cannot know it, and the receipt says that of some.
        """
        if self.receipt is None or token.kind is not Kind.SESSION:
            return False
        unknown_until_us = self.receipt.unknown_grace_until_us
        if unknown_until_us is not None and instance in strangers:
            return unix_us(at_s) < unknown_until_us
        return any(
            each.instance == instance and unix_us(at_s) < each.until_us
            for each in self.receipt.grace
        )


@dataclass(frozen=True, slots=True)
class Checked:
    """An accepted check: its times, its verifier, and its requirements."""

    token: Issued
    started_s: float
    ended_s: float
    instance: bytes
    writes: bool
    demanded: Promise | None


@dataclass
class Oracle:
    """The promises and the violations of one run."""

    tokens: list[Issued] = field(default_factory=list[Issued])
    promises: list[Promise] = field(default_factory=list[Promise])
    wrong: list[str] = field(default_factory=list[str])
    count: Counter[str] = field(default_factory=Counter[str])
    strangers: set[bytes] = field(default_factory=set[bytes])
    """Instances with a lease of a lost ledger that have no row in the restored backup."""

    def free(self, token: Issued, *, besides: Promise | None = None) -> bool:
        """Return True if no promise, besides that one, affects a token."""
        return not any(
            each.made_s < NEVER_S == each.ends_s
            and each is not besides
            and each.takes(token, writes=True)
            for each in self.promises
        )

    def accepted(self, check: Checked) -> None:
        """Compare an accepted check with every promise, and record violations."""
        self.count["accepted"] += 1
        for promise in self.promises:
            if not check.ended_s < promise.ends_s:
                continue
            if not promise.takes(check.token, writes=check.writes):
                continue
            if promise.spares(check.instance, check.token, check.ended_s, strangers=self.strangers):
                self.count["accepted in grace"] += 1
                continue
            event = promise.event
            what = f"{event.revocation.effect} {event.epoch}.{event.seq}"
            who = f"at {check.started_s:.3f} s {check.instance.hex()[:8]} accepts a token of seq "
            if promise.made_s < check.started_s:
                self.wrong.append(
                    f"{who}{check.token.issued_seq}: {what} was enforced at {promise.made_s:.3f} s"
                )
            elif promise is check.demanded:
                self.wrong.append(f"{who}{check.token.issued_seq}: {what} was demanded")
