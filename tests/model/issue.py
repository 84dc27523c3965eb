"""Issuing a token while its parent or its subject is revoked (design 4 and 5).

One transaction issues: it reads its parent and the ledger's end, and commits the token. Two people
revoke the same subject, one after the other; a revoke hits what is below its seq.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Broken(StrEnum):
    """A rule of the design, switched off."""

    UNDER_LOCK = "issued_seq is read under the head lock, after the parent was checked"
    AFTER_COMMIT = "issued_seq is what the ledger's end is when the token is committed"
    OLD_SEQ = "a revoke that seems to change nothing makes no event, and returns the old seq"
    BY_TIME = "times are compared, not positions: a token's clock may be ahead"


class State(NamedTuple):
    """`given` counts commands, `seq` events; `old`: the token was there at the last command."""

    given: int = 0
    seq: int = 0
    checked: bool = False
    issued: int | None = None
    stored: bool = False
    old: bool = False
    done: bool = True


Moves = Iterator[tuple[str, State]]


@dataclass(frozen=True)
class Issues:
    """A delegated token, or one of a log-in."""

    broken: Broken | None = None
    child: bool = True

    @property
    def start(self) -> State:
        return State()

    def steps(self, state: State) -> Moves:
        yield from self.issuing(state)
        if state.given < 2 and state.done:
            given = state._replace(given=state.given + 1, old=state.stored, done=False)
            yield "somebody revokes the subject", given
        if not state.done:
            idle = self.broken is Broken.OLD_SEQ and state.seq > 0
            seq = state.seq if idle else state.seq + 1
            yield f"it is answered, {seq}", state._replace(seq=seq, done=True)

    def issuing(self, state: State) -> Moves:
        if not state.checked:
            if self.child and state.seq:
                return  # the parent is dead, and hands nothing on
            late = self.broken in (Broken.UNDER_LOCK, Broken.AFTER_COMMIT)
            issued = None if late else state.seq
            yield "the parent is found alive", state._replace(checked=True, issued=issued)
        elif state.issued is None and self.broken is Broken.UNDER_LOCK:
            yield "issued_seq is read", state._replace(issued=state.seq)
        elif not state.stored:
            issued = state.seq if state.issued is None else state.issued
            yield (
                f"the token is stored, issued at {issued}",
                state._replace(stored=True, issued=issued),
            )

    def live(self, state: State) -> bool:
        if state.issued is None or not state.stored:
            return False
        ahead = 1 if self.broken is Broken.BY_TIME else 0
        return not any(state.issued + ahead < seq for seq in range(1, state.seq + 1))

    def wrong(self, state: State) -> str | None:
        if self.live(state) and state.seq and self.child:
            return "a self.child outlives its parent"
        if self.live(state) and state.old and state.done:
            return "a token that was there before the revoke is live after it"
        return None
