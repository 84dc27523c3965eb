"""One token, two holders of its secret that rotate it, and a revocation of it (design 5).

The owner and a thief hold the same secret. Each may rotate it, and the token may be revoked at any
moment; one verifier looks secrets up, fills what it found, and applies events. A receipt is there
as soon as the verifier has applied the event.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

HOLDERS = ("owner", "thief")
MAX_READS = 2


class Broken(StrEnum):
    """A rule of the design, switched off."""

    EVENT_FIRST = "a rotation's event is committed before the new secret"
    LEFT_OUT = "of two rotations in one commit both events are left out with the loser's"
    ANY_SECRET = "a rotation takes any secret of the token, not only the one that it has"
    REISSUED = "a rotation issues the token anew: it is younger than its revocation"
    BY_SECRET = "the event of a rotation drops the new secret's record, not the token's"


class Read(NamedTuple):
    """A look-up under way: what it saw of a secret, and as of when."""

    secret: int
    good: bool
    as_of: int


class State(NamedTuple):
    """What the ledger has, and what the verifier knows. A secret is the number of its rotation.

    `rotated` are the secrets that were rotated away, each with the seq that its holder was told.
    """

    events: tuple[str, ...] = ()
    secret: int = 0
    issued: int = 0
    asked: frozenset[str] = frozenset()
    begun: tuple[int, ...] = ()
    rotated: tuple[tuple[int, int], ...] = ()
    reads: int = 0
    under_way: frozenset[Read] = frozenset()
    held: frozenset[tuple[int, int]] = frozenset()
    applied: int = 0


Moves = Iterator[tuple[str, State]]


@dataclass(frozen=True)
class Rotations:
    """Rotations, a revoke, look-ups and events, in every order."""

    broken: Broken | None = None

    @property
    def start(self) -> State:
        return State()

    def steps(self, state: State) -> Moves:
        yield from self.rotating(state)
        if "revoke" not in state.events:
            yield "it is revoked", state._replace(events=(*state.events, "revoke"))
        yield from self.verifying(state)

    def rotating(self, state: State) -> Moves:
        """Each holder comes once, with the first secret: only the first one is given a new one."""
        for holder in HOLDERS:
            if holder not in state.asked:
                asked = state._replace(asked=state.asked | {holder})
                yield f"the {holder} rotates", self.rotated(asked)
        if not state.asked:
            both = self.rotated(state._replace(asked=frozenset(HOLDERS)))
            if self.broken is Broken.LEFT_OUT:
                both = both._replace(
                    events=state.events, rotated=(*state.rotated, (0, len(state.events)))
                )
            yield "both rotate in one commit", self.rotated(both)
        for seq in state.begun:
            rest = tuple(each for each in state.begun if each != seq)
            yield "the new secret is committed", self.changed(state._replace(begun=rest), seq)

    def rotated(self, state: State) -> State:
        taken = state.secret != 0 or state.begun
        if taken and self.broken is not Broken.ANY_SECRET:
            return state  # refused: it is not the secret that the token has
        seq = len(state.events) + 1
        after = state._replace(events=(*state.events, f"rotate to {state.secret + 1}"))
        if self.broken is Broken.EVENT_FIRST:
            return after._replace(begun=(*state.begun, seq))
        return self.changed(after, seq)

    def changed(self, state: State, seq: int) -> State:
        issued = seq if self.broken is Broken.REISSUED else state.issued
        return state._replace(
            secret=state.secret + 1, issued=issued, rotated=(*state.rotated, (0, seq))
        )

    def verifying(self, state: State) -> Moves:
        if state.reads < MAX_READS:
            for secret in range(state.secret + 1):
                good = secret == state.secret and not self.revoked(state)
                read = Read(secret, good, len(state.events))
                yield (
                    f"secret {secret} is looked up",
                    state._replace(reads=state.reads + 1, under_way=state.under_way | {read}),
                )
        for read in state.under_way:
            arrived = state._replace(under_way=state.under_way - {read})
            hit = any(
                self.hits(event, read.secret) for event in state.events[read.as_of : state.applied]
            )
            if read.good and not hit:
                arrived = arrived._replace(held=state.held | {(read.secret, read.as_of)})
            yield f"what was seen of secret {read.secret} arrives", arrived
        if state.applied < len(state.events):
            event = state.events[state.applied]
            held = frozenset(each for each in state.held if not self.hits(event, each[0]))
            yield f"{event}: applied", state._replace(applied=state.applied + 1, held=held)

    def hits(self, event: str, secret: int) -> bool:
        return self.broken is not Broken.BY_SECRET or event in ("revoke", f"rotate to {secret}")

    def revoked(self, state: State) -> bool:
        return any(
            event == "revoke" and state.issued < seq
            for seq, event in enumerate(state.events, start=1)
        )

    def wrong(self, state: State) -> str | None:
        accepted = {secret for secret, _ in state.held}
        if any(old in accepted and seq <= state.applied for old, seq in state.rotated):
            return "a secret that was rotated away is accepted after the receipt"
        if accepted and "revoke" in state.events[: state.applied]:
            return "a secret of a revoked token is accepted after the receipt"
        if len(state.rotated) > 1:
            return "two holders rotated one secret, and neither was told of the other"
        return None
