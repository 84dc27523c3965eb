"""The simplest authority, without regard to speed: every answer comes from the whole history."""

from dataclasses import dataclass, field

from rescind.core import ledger
from rescind.core.handles import Handle, Selector
from rescind.core.ledger import Position
from rescind.core.record import Record
from rescind.core.revocation import Event, Restriction, Revocation
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
    """The state of a token after the whole history up to one position."""

    restrictions: tuple[Restriction, ...]
    scopes: frozenset[str]


@dataclass(slots=True)
class NaiveLedger:
    """A ledger that stores every event and every token, without any index."""

    events: list[Event] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    positions: list[Position] = field(default_factory=lambda: [ledger.genesis(EPOCH)])
    tokens: list[Issued] = field(default_factory=list)

    @property
    def top(self) -> Position:
        return self.positions[-1]

    def issue(self, *names: str) -> Issued:
        """Add a token to the table."""
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
        """Append one event. A lift names what it lifts; a kill is two events `under` one id."""
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
        """Return the events after a position."""
        return tuple(self.payloads[seq : seq + most])

    def hit_between(self, token: Issued, after: int, upto: int) -> bool:
        """Return True if an event of these positions selects the token, whatever its effect."""
        return any(
            set(event.revocation.selector.handles) <= set(token.handles)
            for event in self.events[after:upto]
        )

    def state(self, token: Issued, seq: int) -> State:
        """Return the state of a token after the whole history."""
        restrictions: list[Restriction] = []
        for event in self.events[:seq]:
            revocation = event.revocation
            if not concerns(event, token):
                continue
            if revocation.effect == "lift":
                restrictions = [each for each in restrictions if not lifted(each, revocation)]
            else:
                restrictions.append(
                    Restriction(revocation.revocation_id, revocation.effect, event.seq)
                )
        narrowed = any(each.effect == "narrow" for each in restrictions)
        return State(tuple(restrictions), SCOPES - {"write"} if narrowed else SCOPES)

    def record(self, token: Issued) -> Record:
        """Return the record of a token, from one snapshot."""
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
            restrictions=state.restrictions,
        )


def concerns(event: Event, token: Issued) -> bool:
    """Return True if an event hits a token, by the letter of design 5, not the product's code."""
    wanted, has = set(event.revocation.selector.handles), set(token.handles)
    if wanted - has:
        return False
    if "*" in wanted and "kind:admin" in has and "kind:admin" not in wanted:
        return False
    return not (event.revocation.effect == "revoke" and token.issued_seq >= event.seq)


def lifted(restriction: Restriction, lift: Revocation) -> bool:
    """Return True if a lift ends a restriction: it must name it, and it is not a revoke."""
    return restriction.revocation_id == lift.lifts and restriction.effect != "revoke"
