"""A process's connection to one sidecar instance: sockets, table, and the tokens checked with it.

The verifier reads its connection once for each check, and replaces it whole: a new instance of the
sidecar means a new table, no tokens, and new sockets.
"""

import threading
import time
from enum import Enum, auto
from itertools import count
from pathlib import Path

from rescind.client import clock
from rescind.client.lease_end import Freshness, LeasedVerdict, LeaseEnd
from rescind.client.table_reader import MappedTable, OtherInstanceError, trusted_table
from rescind.client.token_cache import TokenCache
from rescind.client.transport import (
    BlockingConnection,
    LoopPipelines,
    NoAnswerError,
    Pool,
    unreachable_error,
)
from rescind.core import generation_table, token_format
from rescind.core.generation_table import DEADLINE, GENERATION
from rescind.core.posture import Posture
from rescind.core.times import NS_PER_MS
from rescind.core.token_format import TokenHash
from rescind.core.verdict import Allowed, Denied, Reason
from rescind.errors import MalformedMessageError, PostureError, UnreachableError
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
    """The connected instance has ended: connect to its successor."""

    SUPERSEDED = auto()


SUPERSEDED = Superseded.SUPERSEDED


class SidecarConnection:
    """A connection to one instance. `table` is None if it cannot be mapped or trusted."""

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
        self._lease_lock = threading.Lock()
        self._request_numbers = count(1)
        self._graces_ns = _parse_graces_ns(greeting.posture)
        self._time_namespace = clock.time_namespace()
        self._lease_end = LeaseEnd(greeting.instance, 0, 0)
        self._hung_up = False
        self._pool = Pool(path)
        self._loops = LoopPipelines(path)

    @classmethod
    def open(cls, path: Path, *, timeout_s: float, most_entries: int) -> "SidecarConnection":
        """Connect to the sidecar at a socket, or raise UnreachableError at once."""
        deadline_s = clock.monotonic_s() + timeout_s
        return cls._connect(
            path, timeout_s=timeout_s, most_entries=most_entries, deadline_s=deadline_s
        )

    @classmethod
    def _connect(
        cls, path: Path, *, timeout_s: float, most_entries: int, deadline_s: float
    ) -> "SidecarConnection":
        clock.require_boottime()
        while True:
            blocking = BlockingConnection(path, deadline_s=deadline_s)
            greeting = blocking.greeting
            try:
                table = trusted_table(path, blocking, deadline_s=deadline_s)
            except OtherInstanceError as error:
                blocking.close()
                if clock.monotonic_s() > deadline_s:
                    raise unreachable_error(path, "its table is another instance's") from error
                time.sleep(_NEW_TABLE_S)  # between a new sidecar's rename and its bind
                continue
            connection = cls(path, greeting, table, timeout_s=timeout_s, most_entries=most_entries)
            connection._pool.adopt(blocking)
            return connection

    def reconnect(self, *, deadline_s: float, wait: bool) -> "SidecarConnection":
        """Connect to the sidecar that answers at the same socket now. Raises UnreachableError.

        With `wait`, this waits until `deadline_s` for a sidecar that is about to start.
        """
        while True:
            try:
                successor = self._connect(
                    self.path,
                    timeout_s=self._timeout_s,
                    most_entries=self._cache.most_entries,
                    deadline_s=deadline_s,
                )
            except UnreachableError:
                if not wait or clock.monotonic_s() + _NEW_SOCKET_S > deadline_s:
                    raise
            else:
                if successor.instance == self.instance:
                    successor.adopt(self._cache, self._lease_end)
                return successor
            time.sleep(_NEW_SOCKET_S)

    def adopt(self, cache: TokenCache, lease_end: LeaseEnd) -> None:
        """Continue with the cache and the lease of a former connection to the same instance.

        Both connections have the same table. Otherwise one lost socket would require a look-up of
        every token. The cache is shared, not copied: threads may still be in a check of the former
        connection.
        """
        self._lease_end = lease_end
        if self.table is not None:
            self._cache = cache
            self._entries = cache.tokens

    def new_deadline_s(self) -> float:
        """Return the deadline of a request that a check sends now (`clock.monotonic_s`)."""
        return clock.monotonic_s() + self._timeout_s

    def forked(self) -> "SidecarConnection":
        """Return the connection for a forked child: the same table, but sockets of its own.

        A child in another time namespace gets neither the table nor the end of the lease from
        answers: these times have another meaning there.
        """
        child = SidecarConnection(
            self.path,
            self._greeting,
            self.table if self.same_clock else None,
            timeout_s=self._timeout_s,
            most_entries=self._cache.most_entries,
        )
        if self.same_clock:
            child._lease_end = self._lease_end
        return child

    @property
    def same_clock(self) -> bool:
        """Return True if this process has the clock of the process that opened the connection."""
        return clock.time_namespace() == self._time_namespace

    def recall(self, token: str | TokenHash) -> Allowed | Denied | Superseded | None:
        """Check a token from memory, without I/O or a lock; None if a request is needed.

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
            return SUPERSEDED if self._is_replaced() else _NO_LEASE
        if entry.not_before_ns <= now_ns < entry.until_ns:
            return entry.allowed
        return None

    def recall_at(
        self, token: str | TokenHash, min_seq: int
    ) -> Allowed | Denied | Superseded | None:
        """Check a token from memory as `recall` does, if the table shows `min_seq` already.

        Return None otherwise, and without a table, whose position is 0.
        """
        # Read the position before the slots: these then show every event up to the position.
        return None if self.as_of < min_seq else self.recall(token)

    def ends_ns(self, token: str | TokenHash) -> tuple[int, int] | None:
        """Return the ends of the lease and of the token (CLOCK_BOOTTIME), as the table shows them.

        After the earlier one, the verdict of `recall` changes without an event. None if the token
        is not cached, and without a table.
        """
        entry = self._entries.get(token)
        return None if entry is None else (self._words[entry.deadline], entry.until_ns)

    @property
    def handed_over(self) -> bool:
        """Return True if the sidecar has made way for a successor, or has had no lease yet.

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
        """Return the seq of the last event that the table shows; 0 without a table."""
        return 0 if self.table is None else generation_table.applied(self._words)

    def leased(self, *, deadline_s: float) -> bool | Superseded:
        """Return True if the sidecar holds a lease. The grace of some kinds does not count."""
        if self.table is not None:
            if self.freshness().fresh_for_ms:
                return True
            return SUPERSEDED if self._is_replaced() else False
        try:
            response = self.send(Clock(next(self._request_numbers)), deadline_s=deadline_s)
        except UnreachableError:
            return SUPERSEDED
        return isinstance(response, Now) and response.fresh_for_ms > 0

    async def silent(self) -> bool:
        """Return True if a connected sidecar does not answer within the time of a check.

        A sidecar answers a request for its clock at once, whatever its authority does.
        """
        try:
            await self.asend(Clock(next(self._request_numbers)), deadline_s=self.new_deadline_s())
        except NoAnswerError:
            return True
        except UnreachableError:
            return False
        return False

    def _is_replaced(self) -> bool:
        return self.table is not None and self.table.replaced()

    def record_request(self, token: str | TokenHash, *, min_seq: int = 0) -> Look:
        """Return a request for a token's record."""
        return Look(next(self._request_numbers), token, min_seq)

    def verdict_request(
        self,
        token: str | TokenHash,
        require: tuple[str, ...],
        audience: str,
        *,
        min_seq: int = 0,
        address: str | None = None,
    ) -> Check:
        """Return a request for a verdict, for a connection without a table."""
        return Check(next(self._request_numbers), token, require, audience, min_seq, address)

    def apply_response(
        self, token: str | TokenHash, response: Response, *, sent_ns: int, min_seq: int = 0
    ) -> Allowed | Denied | Superseded | None:
        """Apply a response. Return None if the token can now be checked again from memory.

        A response of another instance is dropped: its stamps are of another table. A verdict that
        is valid only at a position before `min_seq` is dropped too. `sent_ns` is CLOCK_BOOTTIME
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
                    return self._build_verdict(token, response, sent_ns=sent_ns, min_seq=min_seq)
        except MalformedMessageError:
            return _UNAVAILABLE

    def send(self, request: Request, *, deadline_s: float) -> Response:
        """Send a request and return its response, blocking this thread. Raises UnreachableError."""
        try:
            return self._pool.send(request, deadline_s=deadline_s)
        except UnreachableError as error:
            self._note_hang_up(error)
            raise

    async def asend(self, request: Request, *, deadline_s: float) -> Response:
        """Send a request as `send` does, without blocking the event loop."""
        try:
            return await self._loops.send(request, deadline_s=deadline_s)
        except UnreachableError as error:
            self._note_hang_up(error)
            raise

    def _note_hang_up(self, error: UnreachableError) -> None:
        # Later silence proves nothing: the sidecar at the path may then be another instance.
        self._hung_up = self._hung_up or not isinstance(error, NoAnswerError)

    def _build_verdict(
        self, token: str | TokenHash, response: Verdict, *, sent_ns: int, min_seq: int
    ) -> Allowed | Denied:
        if response.reason is not None:
            return Denied(response.reason)
        if response.as_of < min_seq:
            return _UNAVAILABLE  # an older sidecar ignores `min_seq`
        record = records.decode(response.record or b"")
        if record.token_hash != token_format.digest(token):
            return _UNAVAILABLE
        token_for_ms = response.token_for_ms
        return LeasedVerdict(
            record,
            lease_end=self._update_lease_end(response, sent_ns),
            grace_ns=dict(self._graces_ns)[DEADLINE[record.kind]],
            token_until_ns=None if token_for_ms is None else sent_ns + token_for_ms * NS_PER_MS,
        )

    def _update_lease_end(self, response: Verdict, sent_ns: int) -> LeaseEnd:
        """Return the end of the lease at a response's position, updated by the response."""
        # 0 means that the lease is over, in grace: the end that an earlier answer implied remains.
        left_ns = response.fresh_for_ms * NS_PER_MS
        ends_ns = sent_ns + left_ns if left_ns else 0
        with self._lease_lock:
            latest = self._lease_end
            if response.as_of < latest.as_of:  # a later answer overtook this one
                return LeaseEnd(self.instance, response.as_of, ends_ns)
            # The lease of an instance never becomes shorter: the end in an earlier answer remains.
            ends_ns = max(ends_ns, latest.ends_ns)
            if response.as_of > latest.as_of:
                # Another object: verdicts confirmed before the new position keep their own end.
                self._lease_end = latest = LeaseEnd(self.instance, response.as_of, ends_ns)
            latest.ends_ns = ends_ns
            return latest

    def close_inherited(self) -> None:
        """Close this child's copies of its parent's sockets; the parent keeps its own."""
        self._pool.close()

    def close(self) -> None:
        """Close the sockets."""
        self._pool.close()
        self._loops.close()


def _parse_graces_ns(text: str) -> tuple[tuple[int, int], ...]:
    """Return each deadline's word, and the grace by which it lies after the end of the lease."""
    try:
        posture = Posture.parse(text)
    except PostureError:  # from a newer sidecar: then only the shortest deadline counts
        posture = Posture()
    return tuple((word, posture.grace_ns(kind)) for kind, word in DEADLINE.items())
