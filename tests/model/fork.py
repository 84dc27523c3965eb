"""A process forks while its threads check tokens and hold work (design 6.5 and 6.7).

Thread B asks the sidecar about a token that was revoked, or is about to; thread A, which holds
work, forks at any moment. The child has a copy of A alone: of B it has what B left behind in
memory, and what the kernel shares, the connections. The child asks about a token that is good.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

PARENT, CHILD = "b", "c"
"""The two processes that ask. Each asks about a token of its own; the parent's was revoked."""


class Broken(StrEnum):
    """A rule of the design, switched off."""

    SHARED_CONNECTION = "a child goes on with its parent's connections"
    SHARED_LOCK = "a child goes on with its parent's locks, also with those that are held"
    UNWATCHED = "the work of the forking thread is not looked after in the child"
    HUNG_UP = "a child hangs up its parent's connection, in place of closing its own copy"


class Asking(NamedTuple):
    """One check under way: it takes a lock, asks, and takes the next answer that comes."""

    locked: bool = False
    asked: bool = False


class State(NamedTuple):
    """`shared` and `own` are connections: what was asked on each, and not yet taken as answered."""

    forked: bool = False
    b: Asking | None = Asking()
    c: Asking | None = None
    lock: str | None = None
    copied_lock: str | None = None
    shared: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    cut: bool = False
    hit: bool = False
    looked_after: bool = True
    ended: bool = False
    wrong: str | None = None


Moves = Iterator[tuple[str, State]]


@dataclass(frozen=True)
class Forks:
    """A parent of two threads, and one child."""

    broken: Broken | None = None

    @property
    def start(self) -> State:
        return State()

    def steps(self, state: State) -> Moves:
        if not state.forked:
            yield "A forks", self.fork(state)
        if not state.hit:
            yield "the token of the held work is hit", state._replace(hit=True)
        if state.forked and state.hit and state.looked_after and not state.ended:
            yield "the child's work is ended", state._replace(ended=True)
        yield from self.parent(state)
        yield from self.child(state)

    def fork(self, state: State) -> State:
        return state._replace(
            forked=True,
            c=Asking(),
            copied_lock=state.lock if self.broken is Broken.SHARED_LOCK else None,
            cut=self.broken is Broken.HUNG_UP,
            looked_after=self.broken is not Broken.UNWATCHED,
        )

    def parent(self, state: State) -> Moves:
        b = state.b
        if b is None:
            return
        if not b.locked and not b.asked:
            yield "B takes the lock", state._replace(lock=PARENT, b=b._replace(locked=True))
        elif not b.asked:
            asked = b._replace(locked=False, asked=True)
            yield (
                "B lets go of the lock, and asks",
                state._replace(lock=None, shared=(*state.shared, PARENT), b=asked),
            )
        elif state.cut:
            yield "B is hung up on", state._replace(wrong="a child hung up on its parent")
        elif state.shared:
            first, *rest = state.shared
            yield f"B takes the answer to {first}", self.taken(state, PARENT, first, tuple(rest))

    def child(self, state: State) -> Moves:
        c = state.c
        if c is None:
            return
        if not c.locked and not c.asked:
            if state.copied_lock is None:
                yield "the child takes the lock", state._replace(c=c._replace(locked=True))
        elif not c.asked:
            asked = state._replace(c=c._replace(locked=False, asked=True))
            if self.broken is Broken.SHARED_CONNECTION:
                yield "the child asks", asked._replace(shared=(*state.shared, CHILD))
            else:
                yield "the child asks", asked._replace(own=(CHILD,))
        elif self.broken is Broken.SHARED_CONNECTION:
            if state.shared:
                first, *rest = state.shared
                after = self.taken(state, CHILD, first, tuple(rest))
                yield f"the child takes the answer to {first}", after
        elif state.own:
            yield "the child takes its answer", state._replace(c=None, own=())

    def taken(self, state: State, reader: str, answer: str, rest: tuple[str, ...]) -> State:
        """Read an answer. Both number their questions alike: no number tells them apart."""
        crossed = (
            None if answer == reader else "an answer to another process's question is believed"
        )
        state = state._replace(shared=rest, wrong=state.wrong or crossed)
        return state._replace(b=None) if reader == PARENT else state._replace(c=None)

    def wrong(self, state: State) -> str | None:
        if state.wrong is not None:
            return state.wrong
        if not state.forked or any(True for _ in self.steps(state)):
            return None
        if state.c is not None:
            return "the child waits for a lock that no thread of its own holds"
        return None if state.ended else "the child's work goes on under a token that is hit"
