"""A ledger that is set back while sidecars follow it: the same seq, another event (design 4 and 8).

`OLD` events are of the ledger that was lost, `NEW` ones of the restored one; the second NEW event
revokes. The operator forgot the new epoch, so only the heads tell the two histories apart.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

OLD, NEW = "o", "n"
REVOKES = NEW + NEW


class Broken(StrEnum):
    """A rule of the design, switched off."""

    LEASE_BY_SEQ = "a lease counts by its seq alone, not by the head at that seq"
    ACK_BY_SEQ = "an acknowledgement counts by its seq alone, not by its head"
    UNCHAINED = "an event is applied by its seq alone, not chained to the head before it"
    SET_BACK = "a sidecar goes back with a ledger that is below what it has applied"


class State(NamedTuple):
    """A history is a string, one letter an event, and so its own head. `shown`: the revoke is."""

    ledger: str = ""
    restored: bool = False
    view: str = ""
    shown: bool = False
    carried: str | None = None
    lease: str | None = None
    acked: str | None = None
    over: bool = False
    enforced: bool = False


Moves = Iterator[tuple[str, State]]


@dataclass(frozen=True)
class Histories:
    """Two histories, each at most so long."""

    broken: Broken | None = None
    longest: int = 3

    @property
    def start(self) -> State:
        return State()

    def steps(self, state: State) -> Moves:
        if len(state.ledger) < self.longest:
            ledger = state.ledger + (NEW if state.restored else OLD)
            yield f"the ledger is at {ledger}", state._replace(ledger=ledger)
        if not state.restored:
            yield "a backup is restored", state._replace(restored=True, ledger="")
        if not state.over:
            yield from self.following(state)
            yield from self.renewing(state)
        if not state.enforced and state.ledger.startswith(REVOKES) and self.counts(state):
            yield "the receipt: by acknowledgement", state._replace(enforced=True)

    def following(self, state: State) -> Moves:
        view, ledger = state.view, state.ledger
        if len(ledger) > len(view) and (ledger.startswith(view) or self.broken is Broken.UNCHAINED):
            reached = ledger[: len(view) + 1]
            shown = state.shown or reached == REVOKES
            yield f"applies {reached}", state._replace(view=reached, shown=shown)
        if state.acked != view:
            yield f"acknowledges {view!r}", state._replace(acked=view)

    def renewing(self, state: State) -> Moves:
        if state.carried is None:
            yield f"a heartbeat leaves, at {state.view!r}", state._replace(carried=state.view)
            return
        heard, granted = state._replace(carried=None), state.ledger
        name = f"a lease at {granted!r} is granted"
        set_back = len(granted) < len(state.carried)
        if set_back and self.broken is Broken.SET_BACK:
            yield f"{name}, which the sidecar jumps to", heard._replace(view=granted, lease=granted)
        elif set_back or not (
            self.agrees(state.view, granted) or self.broken is Broken.LEASE_BY_SEQ
        ):
            yield f"{name}: the instance is over", heard._replace(over=True, lease=None)
        else:
            yield name, heard._replace(lease=granted)

    def agrees(self, view: str, granted: str) -> bool:
        """Return True if two heads are equal up to the shorter one."""
        return view.startswith(granted) or granted.startswith(view)

    def counts(self, state: State) -> bool:
        acked = state.acked or ""
        own = self.broken is Broken.ACK_BY_SEQ or state.ledger.startswith(acked)
        return own and len(acked) >= len(REVOKES)

    def valid(self, state: State) -> bool:
        return state.lease is not None and len(state.view) >= len(state.lease)

    def wrong(self, state: State) -> str | None:
        if state.shown or state.lease is None or not self.valid(state):
            return None
        if state.enforced:
            return "the receipt is out, and a verifier that does not show the revoke has a lease"
        if state.lease.startswith(REVOKES):
            return "a lease from after the revoke counts, and the table does not show the revoke"
        return None
