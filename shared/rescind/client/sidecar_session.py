"""A process's session with one sidecar instance: its table, and the tokens checked against it.

The verifier reads its session once for each check, and replaces it whole: a new instance of the
sidecar means a new table, no tokens, and new connections.
"""

import platform
import threading
import time
from dataclasses import dataclass
from enum import Enum, auto
from itertools import count
from pathlib import Path

from rescind.client import clock
from rescind.client.horizon import Answered, LeaseEnd
from rescind.client.table_reader import MappedTable
from rescind.client.token_cache import TokenCache
from rescind.client.transport import (
    BlockingConnection,
    Loops,
    NoAnswerError,
    Pool,
    unreachable,
)
from rescind.core import generation_table, token_format
from rescind.core.generation_table import DEADLINE, GENERATION, ORDERED_MACHINES
from rescind.core.posture import Posture
from rescind.core.times import NS_PER_MS
from rescind.core.verdict import Allowed, Denied, Reason
from rescind.errors import MalformedMessageError, PostureError, TableError, UnreachableError
from rescind.wire import records
from rescind.wire.socket_protocol import (
    Check,
    Clock,
    Entry,
    Greeting,
    Look,
    Now,
    Refused,
    Request,
    Response,
    Verdict,
)

_NEW_TABLE_S = 0.005
_NEW_SOCKET_S = 0.01

NO_ANSWER = Denied(Reason.UNAVAILABLE)
"""The verdict, compared by identity, if no sidecar answered in time.

It is not about the token, and is not a reason to end work under a lease that is known to last.
"""

_NO_LEASE = Denied(Reason.NO_LEASE)
_UNAVAILABLE = Denied(Reason.UNAVAILABLE)


class Superseded(Enum):
    """The instance of this session has ended: ask its successor."""

    SUPERSEDED = auto()


SUPERSEDED = Superseded.SUPERSEDED


@dataclass(frozen=True, slots=True)
class Freshness:
    """The seq that a check covers at least, and the rest of the lease in milliseconds.

    The rest is not a lifetime of answers: do not keep one for this long. The next event may come at
    once.
    """

    as_of: int
    fresh_for_ms: int


class SidecarSession:
    """A session with one instance. `table` is None if it cannot be mapped or trusted."""

    def __init__(
        self,
        path: Path,
        greeting: Greeting,
        table: MappedTable | None,
        *,
        timeout_s: float,
        most_entries: int,
    ) -> None:
        self.service = greeting.service
        self.instance = greeting.instance
        self.labels = frozenset(greeting.labels)
        self.table = table
        self.path = path
        self._greeting = greeting
        self._timeout_s = timeout_s
        self._words: memoryview[int] = table.words if table else memoryview(b"").cast("Q")
        self._cache = TokenCache(most_entries)
        self._entries = self._cache.tokens  # saves an attribute access in each check
        self._moving = threading.Lock()
        self._numbers = count(1)
        self._graces_ns = _graces_ns(greeting.posture)
        self._time_namespace = clock.time_namespace()
        self._horizon = LeaseEnd(greeting.instance, 0, 0)
        self._hung_up = False
        self._pool = Pool(path)
        self._loops = Loops(path)

    @classmethod
    def open(cls, path: Path, *, timeout_s: float, most_entries: int) -> "SidecarSession":
        """Connect to the sidecar at a socket, or raise UnreachableError at once."""
        ends_s = clock.monotonic_s() + timeout_s
        return cls._met(path, timeout_s=timeout_s, most_entries=most_entries, ends_s=ends_s)

    @classmethod
    def _met(
        cls, path: Path, *, timeout_s: float, most_entries: int, ends_s: float
    ) -> "SidecarSession":
        clock.require_boottime()
        while True:
            connection = BlockingConnection(path, ends_s=ends_s)
            greeting = connection.greeting
            try:
                table = _believed(path, connection, ends_s=ends_s)
            except _OtherInstanceError as error:
                connection.close()
                if clock.monotonic_s() > ends_s:
                    raise unreachable(path, "its table is another instance's") from error
                time.sleep(_NEW_TABLE_S)  # between a new sidecar's rename and its bind
                continue
            session = cls(path, greeting, table, timeout_s=timeout_s, most_entries=most_entries)
            session._pool.adopt(connection)
            return session

    def reopened(self, *, ends_s: float, patient: bool) -> "SidecarSession":
        """Connect to the sidecar that answers at the same socket now. Raises UnreachableError.

        A patient caller waits until `ends_s` for a sidecar that is about to start, as in a restart.
        """
        while True:
            try:
                met = self._met(
                    self.path,
                    timeout_s=self._timeout_s,
                    most_entries=self._cache.most_entries,
                    ends_s=ends_s,
                )
            except UnreachableError:
                if not patient or clock.monotonic_s() + _NEW_SOCKET_S > ends_s:
                    raise
            else:
                if met.instance == self.instance:
                    met.adopt(self._cache, self._horizon)
                return met
            time.sleep(_NEW_SOCKET_S)

    def adopt(self, cache: TokenCache, horizon: LeaseEnd) -> None:
        """Continue with the cache and the lease of a former session of the same instance.

        Both sessions have the same table. Otherwise one lost connection would require a look-up of
        every token. The cache is shared, not copied: threads may still be in a check of the former
        session.
        """
        self._horizon = horizon
        if self.table is not None:
            self._cache = cache
            self._entries = cache.tokens

    def deadline_s(self) -> float:
        """Return the deadline of a check that asks now (`clock.monotonic_s`)."""
        return clock.monotonic_s() + self._timeout_s

    def forked(self) -> "SidecarSession":
        """Return the session for a forked child: the same table, but connections of its own.

        A child in another time namespace gets neither the table nor the end of the lease from
        answers: these times have another meaning there.
        """
        twin = SidecarSession(
            self.path,
            self._greeting,
            self.table if self.same_clock else None,
            timeout_s=self._timeout_s,
            most_entries=self._cache.most_entries,
        )
        if self.same_clock:
            twin._horizon = self._horizon
        return twin

    @property
    def same_clock(self) -> bool:
        """Whether this process has the same clock as the process that opened the session."""
        return clock.time_namespace() == self._time_namespace

    def recall(self, token: str) -> Allowed | Denied | Superseded | None:
        """Check a token from memory, without I/O or a lock; None if the sidecar must be asked.

        The proof depends on the order (design 6.5): the lease first, then the generation, then the
        slots, and the clock last. Reading the lease after the slots could accept a revoked token: a
        sidecar that was cut off could return between the two, and its new lease would cover the old
        slots.
        """
        entry = self._entries.get(token)
        if entry is None:
            return None
        words = self._words
        ends_ns = words[entry.deadline]
        generation = words[GENERATION]
        if entry.generation != generation:
            if entry.read(words) != entry.values:
                return None
            # Store the generation read above. A second read could miss an event between the two.
            entry.generation = generation
        now_ns = clock.boottime_ns()
        if now_ns >= ends_ns:
            # The sidecar may have been replaced, and its successor may hold a lease.
            return SUPERSEDED if self._replaced() else _NO_LEASE
        if entry.not_before_ns <= now_ns < entry.until_ns:
            return entry.allowed
        return None

    def recall_at(self, token: str, min_seq: int) -> Allowed | Denied | Superseded | None:
        """Check a token from memory as `recall` does, if the table shows `min_seq` already.

        Return None otherwise, and without a table, whose position is 0.
        """
        # Read the position before the slots: these then show every event up to the position.
        return None if self.as_of < min_seq else self.recall(token)

    def ends_ns(self, token: str) -> tuple[int, int] | None:
        """Return the ends of the lease and of the token (CLOCK_BOOTTIME), as the table shows them.

        After the earlier one, the verdict of `recall` changes without an event. None if the token
        is not cached, and without a table.
        """
        entry = self._entries.get(token)
        return None if entry is None else (self._words[entry.deadline], entry.until_ns)

    @property
    def handed_over(self) -> bool:
        """Whether the sidecar has made way for a successor, or has had no lease yet.

        The table shows it. Without a table, a closed connection does. A sidecar that is cut off is
        neither: its deadlines remain, in the past.
        """
        if self.table is None:
            return self._hung_up
        return not any(self._words[word] for word in DEADLINE.values())

    def freshness(self) -> Freshness:
        """Return the table's position and lease; both are 0 without a table."""
        if self.table is None:
            return Freshness(0, 0)
        as_of = self.as_of  # read before the lease, which covers at least this position
        # Without the grace: an answer in grace is not fresh.
        ends_ns = min(self._words[word] - grace_ns for word, grace_ns in self._graces_ns)
        left_ns = ends_ns - clock.boottime_ns()
        return Freshness(as_of, max(0, left_ns) // NS_PER_MS)

    @property
    def as_of(self) -> int:
        """The seq of the last event that the table shows; 0 without a table."""
        return 0 if self.table is None else generation_table.applied(self._words)

    def leased(self, *, ends_s: float) -> bool | Superseded:
        """Return True if the sidecar holds a lease. The grace of some kinds does not count."""
        if self.table is not None:
            if self.freshness().fresh_for_ms:
                return True
            return SUPERSEDED if self._replaced() else False
        try:
            response = self.ask(Clock(next(self._numbers)), ends_s=ends_s)
        except UnreachableError:
            return SUPERSEDED
        return isinstance(response, Now) and response.fresh_for_ms > 0

    async def silent(self) -> bool:
        """Return True if a connected sidecar does not answer within the time of a check.

        A sidecar answers a request for its clock at once, whatever its authority does.
        """
        try:
            await self.aask(Clock(next(self._numbers)), ends_s=self.deadline_s())
        except NoAnswerError:
            return True
        except UnreachableError:
            return False
        return False

    def _replaced(self) -> bool:
        return self.table is not None and self.table.replaced()

    def look(self, token: str, *, min_seq: int = 0) -> Look:
        """Return a request for a token's record."""
        return Look(next(self._numbers), token, min_seq)

    def remote_check(
        self,
        token: str,
        require: tuple[str, ...],
        audience: str,
        *,
        min_seq: int = 0,
        address: str | None = None,
    ) -> Check:
        """Return a request for a verdict, for a session without a table."""
        return Check(next(self._numbers), token, require, audience, min_seq, address)

    def apply_response(
        self, token: str, response: Response, *, asked_ns: int, min_seq: int = 0
    ) -> Allowed | Denied | Superseded | None:
        """Apply a response. Return None if the token can now be checked again from memory.

        A response of another instance is dropped: its stamps are of another table. A verdict that
        is good only at a position before `min_seq` is dropped too. `asked_ns` is CLOCK_BOOTTIME
        from before the request left: the rest of the lease in the response counts from there.
        """
        if not isinstance(response, (Entry, Refused, Verdict)):
            return _UNAVAILABLE
        if response.instance != self.instance:
            return SUPERSEDED
        self._hung_up = False
        try:
            match response:
                case Entry():
                    self._cache.store(token, response, words=len(self._words))
                    return None
                case Refused(_, _, reason):
                    if reason is not Reason.UNAVAILABLE:  # which is not about the token
                        self._cache.forget(token)
                    return Denied(reason)
                case Verdict():
                    return self._verdict(token, response, asked_ns=asked_ns, min_seq=min_seq)
        except MalformedMessageError:
            return _UNAVAILABLE

    def ask(self, request: Request, *, ends_s: float) -> Response:
        """Send a request, blocking this thread. Raises UnreachableError."""
        try:
            return self._pool.ask(request, ends_s=ends_s)
        except UnreachableError as error:
            self._note_hang_up(error)
            raise

    async def aask(self, request: Request, *, ends_s: float) -> Response:
        """Send a request without blocking the loop. Raises UnreachableError."""
        try:
            return await self._loops.ask(request, ends_s=ends_s)
        except UnreachableError as error:
            self._note_hang_up(error)
            raise

    def _note_hang_up(self, error: UnreachableError) -> None:
        # Later silence proves nothing: the sidecar at the path may then be another instance.
        self._hung_up = self._hung_up or not isinstance(error, NoAnswerError)

    def _verdict(
        self, token: str, response: Verdict, *, asked_ns: int, min_seq: int
    ) -> Allowed | Denied:
        if response.reason is not None:
            return Denied(response.reason)
        if response.as_of < min_seq:
            return _UNAVAILABLE  # an older sidecar ignores `min_seq`
        record = records.decode(response.record or b"")
        if record.token_hash != token_format.digest(token):
            return _UNAVAILABLE
        token_for_ms = response.token_for_ms
        return Answered(
            record,
            horizon=self._horizon_at(response, asked_ns),
            grace_ns=dict(self._graces_ns)[DEADLINE[record.kind]],
            token_until_ns=None if token_for_ms is None else asked_ns + token_for_ms * NS_PER_MS,
        )

    def _horizon_at(self, response: Verdict, asked_ns: int) -> LeaseEnd:
        """Return the end of the lease at a response's position, updated by the response."""
        # 0 means that the lease is over, in grace: the end that an earlier answer implied remains.
        left_ns = response.fresh_for_ms * NS_PER_MS
        ends_ns = asked_ns + left_ns if left_ns else 0
        with self._moving:
            latest = self._horizon
            if response.as_of < latest.as_of:  # a later answer overtook this one
                return LeaseEnd(self.instance, response.as_of, ends_ns)
            # The lease of an instance never becomes shorter: the end in an earlier answer remains.
            ends_ns = max(ends_ns, latest.ends_ns)
            if response.as_of > latest.as_of:
                # Another object: verdicts confirmed before the new position keep their own end.
                self._horizon = latest = LeaseEnd(self.instance, response.as_of, ends_ns)
            latest.ends_ns = ends_ns
            return latest

    def let_go(self) -> None:
        """Close this child's copies of its parent's connections; the parent keeps its own."""
        self._pool.close()

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()
        self._loops.close()


def _graces_ns(text: str) -> tuple[tuple[int, int], ...]:
    """Return each deadline's word, and the grace by which it lies after the end of the lease."""
    try:
        posture = Posture.parse(text)
    except PostureError:  # from a newer sidecar: then only the shortest deadline counts
        posture = Posture()
    return tuple((word, posture.grace_ns(kind)) for kind, word in DEADLINE.items())


class _OtherInstanceError(Exception):
    """Raised when the table belongs to another instance than the greeting."""


def _believed(path: Path, connection: BlockingConnection, *, ends_s: float) -> MappedTable | None:
    """Map the table if its deadlines mean the same here as in the sidecar (design 6.2).

    With another kernel, another time namespace or a network volume, their meaning differs.
    """
    # Pure Python cannot order two loads. On a machine that does not, checks use the socket.
    if platform.machine().lower() not in ORDERED_MACHINES:
        return None
    try:
        table = MappedTable.open(path.with_suffix(".table"))
    except TableError:
        return None
    greeting = connection.greeting
    if table.instance != greeting.instance:
        raise _OtherInstanceError
    if not table.boot == greeting.boot == clock.boot_id():
        return None
    before_ns = clock.boottime_ns()
    response = connection.ask(Clock(0), ends_s=ends_s)
    after_ns = clock.boottime_ns()
    same_clock = isinstance(response, Now) and before_ns <= response.boottime_ns <= after_ns
    return table if same_clock else None
