"""The authority as somebody would write it who has all day: every answer from the whole history."""

from dataclasses import dataclass, field

from rescind.core import ledger
from rescind.core.handles import Handle, Selector
from rescind.core.ledger import Position
from rescind.core.record import Record
from rescind.core.revocation import ActiveRevocation, Event, Revocation
from rescind.core.token_format import Kind
from rescind.wire import events

EPOCH = 1
SCOPES = frozenset({"read", "write"})


@dataclass(frozen=True, slots=True)
class Issued:
    """A token in the table."""

    token_hash: bytes
    handles: tuple[Handle, ...]
    issued_seq: int


@dataclass(frozen=True, slots=True)
class State:
    """What the whole history up to one position makes of a token."""

    holds: tuple[ActiveRevocation, ...]
    scopes: frozenset[str]


@dataclass(slots=True)
class NaiveLedger:
    """Keep every event and every token, and index nothing."""

    events: list[Event] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    positions: list[Position] = field(default_factory=lambda: [ledger.genesis(EPOCH)])
    tokens: list[Issued] = field(default_factory=list)

    @property
    def top(self) -> Position:
        return self.positions[-1]

    def issue(self, *names: str) -> Issued:
        """Put a token into the table."""
        number = len(self.tokens)
        named = {Handle("*"), Handle(f"token:{number}"), *(Handle(name) for name in names)}
        token = Issued(number.to_bytes(32), tuple(sorted(named)), self.top.seq)
        self.tokens.append(token)
        return token

    def commit(
        self,
        effect: str,
        handles: tuple[str, ...],
        *,
        lifts: str | None = None,
        under: str | None = None,
    ) -> Event:
        """Write one event at the end. A lift names what it lifts; a kill is two `under` one id."""
        seq = self.top.seq + 1
        event = Event(
            epoch=EPOCH,
            seq=seq,
            at_us=seq,
            revocation=Revocation(
                revocation_id=under or f"rev_{seq}",
                selector=Selector(tuple(sorted(Handle(handle) for handle in handles))),
                effect=effect,
                reason="",
                actor="",
                scopes=("write",) if effect == "narrow" else (),
                lifts=lifts,
            ),
        )
        payload = events.encode(event)
        self.events.append(event)
        self.payloads.append(payload)
        self.positions.append(self.top.after(payload))
        return event

    def after(self, seq: int, *, most: int) -> tuple[bytes, ...]:
        """Give the events after a position."""
        return tuple(self.payloads[seq : seq + most])

    def hit_between(self, token: Issued, after: int, upto: int) -> bool:
        """Say whether an event of these positions names the token, whatever it does to it."""
        return any(
            set(event.revocation.selector.handles) <= set(token.handles)
            for event in self.events[after:upto]
        )

    def state(self, token: Issued, seq: int) -> State:
        """Go through the whole history, and see what is left of a token."""
        holds: list[ActiveRevocation] = []
        for event in self.events[:seq]:
            revocation = event.revocation
            if not concerns(event, token):
                continue
            if revocation.effect == "lift":
                holds = [hold for hold in holds if not lifted(hold, revocation)]
            else:
                holds.append(
                    ActiveRevocation(revocation.revocation_id, revocation.effect, event.seq)
                )
        narrowed = any(hold.effect == "narrow" for hold in holds)
        return State(tuple(holds), SCOPES - {"write"} if narrowed else SCOPES)

    def record(self, token: Issued) -> Record:
        """Read a token and its state in one snapshot."""
        seq = self.top.seq
        state = self.state(token, seq)
        return Record(
            token_hash=token.token_hash,
            epoch=EPOCH,
            as_of=seq,
            token_id=str(int.from_bytes(token.token_hash)),
            kind=Kind.AGENT,
            subject="agent:a",
            granted=state.scopes,
            audience=frozenset(),
            issued_at_us=0,
            issued_seq=token.issued_seq,
            not_before_us=0,
            expires_at_us=2**62,
            handles=token.handles,
            holds=state.holds,
        )


def concerns(event: Event, token: Issued) -> bool:
    """Read design 5 to the letter, without looking at how the product does it."""
    wanted, has = set(event.revocation.selector.handles), set(token.handles)
    if wanted - has:
        return False
    if "*" in wanted and "kind:admin" in has and "kind:admin" not in wanted:
        return False
    return not (event.revocation.effect == "revoke" and token.issued_seq >= event.seq)


def lifted(hold: ActiveRevocation, lift: Revocation) -> bool:
    """Say whether a lift ends a hold: what it names, and never a revoke."""
    return hold.revocation_id == lift.lifts and hold.effect != "revoke"
