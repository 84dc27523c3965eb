"""What one command reaches: several handles, `exact`, and `issued_before` (design 5).

A family grows: a root, a child with another subject, a grandchild; and the first subject logs in
again. At some moment one command takes power away, and tokens are issued before it and after. The
product's rules are its own functions, in a database of this model; what must be true is said once
more, in words: which token was issued when, and from which other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import NamedTuple

from rescind.core import delegation
from rescind.core.handles import Handle, Selector, of_token, select
from rescind.core.revocation import Effect, Event, Revocation, hits
from rescind.core.token_format import Kind

HORIZON = 2


class Broken(StrEnum):
    """A rule of the design, switched off."""

    ANY_HANDLE = "a selector hits whatever has one of its handles"
    FIRST_HANDLE = "of a selector the first handle alone counts"
    ALONE = "a token is taken without what was delegated from it, though exact was not asked for"
    ALWAYS_ALL = "exact is not looked at"
    NOTHING_INHERITED = "a child has none of the handles of its parent"
    OWN_TIME = "a cutoff is compared with when a child itself was issued"
    LAST_TIME = "a cutoff is compared with the last ancestor that is selected, not the first"
    SAME_MOMENT = "a cutoff reaches what was issued at its very moment"
    TIME_ALONE = "with a cutoff, positions are not compared"
    DEAD_PARENTS = "what is issued stands on nothing: a parent is not looked at"


class Token(NamedTuple):
    """A token as its row has it; `parent` is the name of another."""

    name: str
    subject: str
    tenant: str
    parent: str | None
    issued_at: int
    issued_seq: int
    handles: tuple[Handle, ...]


FAMILY = {
    "root": ("agent:a", "t", None),
    "child": ("agent:b", "t", "root"),
    "grandchild": ("agent:c", "t", "child"),
    "again": ("agent:a", "u", None),
}


class Command(NamedTuple):
    """A wish as a person gives it."""

    texts: tuple[str, ...]
    effect: str = Effect.REVOKE
    exact: bool = False
    before: int | None = None


_TEXTS = (
    ("token:root",),
    ("token:child",),
    ("subject:agent:a",),
    ("subject:agent:b", "tenant:t"),
    ("subject:agent:a", "tenant:t"),
    ("subject:agent:a", "subject:agent:b"),
    ("tenant:t",),
)
COMMANDS = tuple(
    Command(texts, effect, exact, before)
    for texts in _TEXTS
    for effect in (Effect.REVOKE, Effect.SUSPEND)
    for exact in (False, True)
    for before in (None, 1, HORIZON)
)


@cache
def _selected(texts: tuple[str, ...], exact: bool) -> Selector:
    return select(texts, exact=exact)


class State(NamedTuple):
    """The tokens that there are, the command and what there was then, and what was not issued."""

    now: int = 0
    seq: int = 0
    tokens: frozenset[Token] = frozenset()
    command: Command | None = None
    known: frozenset[str] = frozenset()
    refused: Token | None = None


Moves = Iterator[tuple[str, State]]


@dataclass(frozen=True)
class Reaches:
    """One family, every command, at every moment."""

    broken: Broken | None = None

    @property
    def start(self) -> State:
        return State()

    def steps(self, state: State) -> Moves:
        if state.refused is not None:
            return
        if state.now < HORIZON:
            yield "a tick", state._replace(now=state.now + 1)
        there = {each.name: each for each in state.tokens}
        for name, (subject, tenant, parent) in FAMILY.items():
            if name not in there and (parent is None or parent in there):
                token = self.fresh(state, name, subject, tenant, there.get(parent or ""))
                if self.free(state, token):
                    yield f"{name} is issued", state._replace(tokens=state.tokens | {token})
                else:
                    yield f"{name} is not issued", state._replace(refused=token)
        if state.command is None:
            for command in COMMANDS:
                known = frozenset(there)
                after = state._replace(command=command, seq=state.seq + 1, known=known)
                yield f"{command}", after

    def fresh(
        self, state: State, name: str, subject: str, tenant: str, parent: Token | None
    ) -> Token:
        """Make the row of a new token."""
        handed = () if parent is None else delegation.inherited(parent.handles)
        handles = of_token(
            token_id=name,
            kind=Kind.AGENT,
            subject=subject,
            tenant=tenant,
            client=None,
            session=None,
            labels=(),
            inherited=() if self.broken is Broken.NOTHING_INHERITED else handed,
        )
        above = None if parent is None else parent.name
        return Token(name, subject, tenant, above, state.now, state.seq, handles)

    def free(self, state: State, token: Token) -> bool:
        """Return True if a token may be issued: neither its parent is held, nor would it be."""
        if self.broken is Broken.DEAD_PARENTS:
            return True
        return not any(self.held(state, each) for each in self.line(state, token)[:2])

    # The product --------------------------------------------------------------------------------

    def held(self, state: State, token: Token) -> bool:
        """Return True if the command holds a token, by the product's own functions."""
        command = state.command
        if command is None:
            return False
        exact = command.exact or self.broken is Broken.ALONE
        selector = _selected(command.texts, exact and self.broken is not Broken.ALWAYS_ALL)
        event = Event(
            1,
            state.seq,
            0,
            Revocation(
                "rev", selector, command.effect, "", "", issued_before_us=self.cutoff(command)
            ),
        )
        since = self.since(state, token, selector.matches)
        position = -1 if self.broken is Broken.TIME_ALONE and command.before else token.issued_seq
        reached = any if self.broken is Broken.ANY_HANDLE else all
        handles = set(token.handles)
        named = selector.handles[:1] if self.broken is Broken.FIRST_HANDLE else selector.handles
        if reached(each in handles for each in named):
            handles |= set(selector.handles)
        return hits(event, handles=handles, issued_seq=position, issued_at_us=since)

    def cutoff(self, command: Command) -> int | None:
        late = self.broken is Broken.SAME_MOMENT and command.before is not None
        return command.before + 1 if late and command.before is not None else command.before

    def since(
        self, state: State, token: Token, matches: Callable[[tuple[Handle, ...]], bool]
    ) -> int:
        """Return when the first selected token of its line was issued.

        It does what issuance_snapshot.sql does.
        """
        line = [each for each in self.line(state, token) if matches(each.handles)] or [token]
        match self.broken:
            case Broken.OWN_TIME:
                return token.issued_at
            case Broken.LAST_TIME:
                return max(each.issued_at for each in line)
            case _:
                return min(each.issued_at for each in line)

    def line(self, state: State, token: Token) -> tuple[Token, ...]:
        """Return a token and its ancestors, itself first."""
        there = {each.name: each for each in state.tokens}
        parent = there.get(token.parent or "")
        return (token,) if parent is None else (token, *self.line(state, parent))

    # The truth ----------------------------------------------------------------------------------

    def taken(self, state: State, command: Command, token: Token) -> bool:
        """Return True if the command takes a token, as a person means it."""
        line = self.line(state, token)
        if not self.meant(command, token, line):
            return False
        meant = [each for place, each in enumerate(line) if self.meant(command, each, line[place:])]
        if command.effect == Effect.REVOKE and not any(each.name in state.known for each in meant):
            return False  # a later login is not meant
        return command.before is None or min(each.issued_at for each in meant) < command.before

    def meant(self, command: Command, token: Token, line: tuple[Token, ...]) -> bool:
        """Return True if every part of the command names a token, or (not exact) an ancestor."""
        of_whom = (token,) if command.exact else line
        for text in command.texts:
            kind, _, value = text.partition(":")
            if kind == "tenant":
                named = token.tenant == value
            elif kind == "token":
                named = any(each.name == value for each in of_whom)
            else:
                named = any(each.subject == value for each in of_whom)
            if not named:
                return False
        return True

    def wrong(self, state: State) -> str | None:
        command, refused = state.command, state.refused
        if command is None:
            return None
        if refused is not None:
            line = self.line(state, refused)
            mine = any(self.taken(state, command, each) for each in line)
            return None if mine else f"{refused.name} is not issued, and the command spares it"
        for token in state.tokens:
            taken, held = self.taken(state, command, token), self.held(state, token)
            if taken and not held:
                return f"{token.name} is accepted, and the command takes it"
            if held and not taken:
                return f"{token.name} is denied, and the command spares it"
        return None
