"""The server of the socket, which answers many requests at once on one connection.

Requests that memory can answer are answered at once, in their order; requests that need the
authority are answered when its answer arrives. The server does not read from a connection with too
many requests under way, or whose client does not read. Many requests at once are answered in turns,
so that heartbeats and other connections are not delayed. So for each connection, at most one chunk
from the socket is kept, and at most 1,024 answers are outstanding.
"""

import asyncio
import os
import socket
from collections import Counter, deque
from collections.abc import Collection
from pathlib import Path
from typing import cast

from rescind.core import scopes
from rescind.core.times import NS_PER_MS
from rescind.core.verdict import Denied, Reason, permitted
from rescind.errors import MalformedMessageError
from rescind.wire.socket_protocol import (
    Changed,
    Check,
    Clock,
    Entry,
    Frames,
    Greeting,
    Look,
    Now,
    Refused,
    Request,
    Response,
    Verdict,
    Watch,
    decode_request,
    encode_response,
)
from rescind_sidecar.ports import BootClock as LocalClock
from rescind_sidecar.socket import peer_credentials
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.usecases.ledger.change_notifier import ChangeNotifier
from rescind_sidecar.usecases.lookup.answer import TokenLookup, ValidRecord
from rescind_sidecar.usecases.lookup.lookup_budgets import LookupSource

_MODE = 0o660
_BACKLOG = 1024
_MAX_IN_FLIGHT = 1024
_MAX_PER_TURN = 128
_MAX_CONNECTIONS = 4096
_MAX_PER_SOURCE = 1024
_MAX_REQUEST_BYTES = 65_536


class SocketServer:
    """Serve the workloads of one service."""

    def __init__(
        self,
        *,
        lookup: TokenLookup,
        watchers: ChangeNotifier,
        clock: LocalClock,
        tally: Counters,
        tasks: asyncio.TaskGroup,
        service: str,
        posture: str,
        labels: Collection[tuple[str, str]],
        boot: bytes,
    ) -> None:
        self.lookup = lookup
        self.watchers = watchers
        self.tally = tally
        self.tasks = tasks
        self._clock = clock
        self._service = service
        self._posture = posture
        self._labels = frozenset(labels)
        self._boot = boot
        self._listener: asyncio.Server | None = None
        self._path: Path | None = None
        self._stopped = False
        self.connections: set[WorkloadConnection] = set()
        self._of_source: Counter[LookupSource] = Counter()

    async def listen(self, path: Path) -> None:
        """Bind the socket, and replace an old one. The caller must hold the lock of the socket."""
        bound = _bind(path)
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_unix_server(
            lambda: WorkloadConnection(self), sock=bound, backlog=_BACKLOG
        )
        self._path = path

    def stop(self) -> None:
        """Stop answering: abort every connection, and delete the socket."""
        self._stopped = True  # a connection may be accepted already and not be made yet
        if self._listener is not None:
            self._listener.close()
        for connection in list(self.connections):
            connection.hang_up()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def admit(self, connection: "WorkloadConnection", source: LookupSource) -> bool:
        """Admit a connection; return False if there are too many in all or from its source."""
        if self._stopped:
            return False
        if len(self.connections) >= _MAX_CONNECTIONS or self._of_source[source] >= _MAX_PER_SOURCE:
            self.tally.connections_refused += 1
            return False
        self.connections.add(connection)
        self._of_source[source] += 1
        return True

    def forget(self, connection: "WorkloadConnection", source: LookupSource) -> None:
        """Remove a connection that was admitted."""
        if connection not in self.connections:
            return
        self.connections.remove(connection)
        self._of_source[source] -= 1
        if not self._of_source[source]:
            del self._of_source[source]

    def greeting(self) -> Greeting:
        """Return the greeting of this sidecar."""
        labels = tuple(sorted(self._labels))
        return Greeting(self._service, self.lookup.instance, self._boot, self._posture, labels)

    def answer_from_memory(self, request: Clock | Look | Check) -> Response | None:
        """Return the answer, or None if the authority has to be asked."""
        if isinstance(request, Clock):
            left_ms = self.lookup.lease_left_ns() // NS_PER_MS
            now_ns = self._clock.boottime_ns()
            return Now(request.request, now_ns, left_ms, self.lookup.refused)
        if not self.lookup.covers(request.min_seq):
            return None
        result = self.lookup.recall(request.token)
        return None if result is None else self.respond(request, result)

    def respond(self, request: Look | Check, result: ValidRecord | Denied) -> Response:
        """Return the result as the response type that the request asks for."""
        match request:
            case Look():
                return self._build_entry(request, result)
            case Check():
                return self._build_verdict(request, result)

    def _build_entry(self, request: Look, result: ValidRecord | Denied) -> Entry | Refused:
        if isinstance(result, Denied):
            self.tally.denied(result.reason)
            return Refused(request.request, self.lookup.instance, result.reason)
        table = result.instance.view.table
        return Entry(
            request=request.request,
            instance=result.instance.instance,
            record=result.cached.payload,
            slots=result.cached.slots,
            stamps=table.stamps(result.cached.slots),
            generation=table.generation,
            not_before_ns=result.window.not_before_ns,
            until_ns=result.window.until_ns,
        )

    def _build_verdict(self, request: Check, result: ValidRecord | Denied) -> Verdict:
        denial = result if isinstance(result, Denied) else None
        if isinstance(result, ValidRecord) and not all(map(scopes.is_valid, request.require)):
            # A pattern of the token would cover a text that is not a scope: `a:*` covers `a:x b:y`.
            denial = Denied(Reason.INSUFFICIENT_SCOPE)
        elif isinstance(result, ValidRecord):
            audience = request.audience or self._service
            denial = permitted(
                result.cached.record,
                require=request.require,
                audience=audience,
                address=request.address,
                labels=self._labels,
            )
        if denial is not None or isinstance(result, Denied):
            reason = denial.reason if denial else Reason.UNAVAILABLE
            self.tally.denied(reason)
            return Verdict(request.request, self.lookup.instance, reason, None, 0, 0)
        view = result.instance.view
        now_ns = self._clock.boottime_ns()
        return Verdict(
            request=request.request,
            instance=result.instance.instance,
            reason=None,
            record=result.cached.payload,
            as_of=result.cached.valid_at,
            fresh_for_ms=max(0, view.leases.ends_ns - now_ns) // NS_PER_MS,
            token_for_ms=max(0, result.window.until_ns - now_ns) // NS_PER_MS,
        )


def _bind(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Between bind and chmod, only the user of this process may connect.
    previous = os.umask(0o177)
    try:
        bound.bind(str(path))
    finally:
        os.umask(previous)
    path.chmod(_MODE)
    return bound


class WorkloadConnection(asyncio.Protocol):
    """One workload's connection."""

    def __init__(self, server: SocketServer) -> None:
        self._server = server
        self._frames = Frames(longest_bytes=_MAX_REQUEST_BYTES)
        self._transport: asyncio.Transport | None = None
        self._source = LookupSource(0, 0)
        self._waiting: deque[bytes] = deque()
        self._turn: asyncio.Handle | None = None
        self._under_way = 0
        self._write_paused = False
        self._watch: Watch | None = None
        self._notification_due = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the greeting, or abort a connection that is not admitted."""
        self._transport = cast("asyncio.Transport", transport)
        self._source = peer_credentials.source(transport)
        if self._server.admit(self, self._source):
            self._transport.write(encode_response(self._server.greeting()))
        else:
            self.hang_up()

    def data_received(self, data: bytes) -> None:
        """Process every complete request in the received data, in turns."""
        try:
            self._waiting.extend(self._frames.feed(data))
        except MalformedMessageError:
            self._refuse()
        else:
            self._take_turn()

    def _take_turn(self) -> None:
        self._turn = None
        for _ in range(_MAX_PER_TURN):
            if not self._waiting or self._is_full:
                break
            try:
                self._process(decode_request(self._waiting.popleft()))
            except MalformedMessageError:
                self._refuse()
                return
        self._pace()

    def _refuse(self) -> None:
        # A malformed request has no number that an error response could name.
        self._server.tally.messages_refused += 1
        self.hang_up()

    def _process(self, request: Request) -> None:
        if isinstance(request, Watch):
            self._watch = request
            self._server.watchers.add(self._notify)
            self._notify()
            return
        response = self._server.answer_from_memory(request)
        if response is not None:
            self._send(response)
        elif not isinstance(request, Clock):
            self._under_way += 1
            self._server.tasks.create_task(self._look_up(request))

    def _notify(self) -> None:
        """Send a notification of a change; while the client does not read, delay and join them."""
        self._notification_due = self._write_paused
        if self._watch is not None and not self._write_paused:
            self._send(Changed(self._watch.request, self._server.lookup.as_of))

    async def _look_up(self, request: Look | Check) -> None:
        result = await self._server.lookup.look_up(
            request.token, source=self._source, min_seq=request.min_seq
        )
        self._under_way -= 1
        self._send(self._server.respond(request, result))
        self._pace()

    def _send(self, response: Response) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode_response(response))

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read the answers."""
        self._write_paused = True
        self._pace()

    def resume_writing(self) -> None:
        """Resume reading."""
        self._write_paused = False
        if self._notification_due:
            self._notify()
        self._pace()

    @property
    def _is_full(self) -> bool:
        return self._write_paused or self._under_way >= _MAX_IN_FLIGHT

    def _pace(self) -> None:
        """Resume reading if no received request waits; else pause it, and process the next ones."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if not self._waiting and not self._is_full:
            if not transport.is_reading():
                transport.resume_reading()
            return
        transport.pause_reading()
        if self._waiting and not self._is_full and self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._take_turn)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from the server."""
        del exc
        self._server.forget(self, self._source)
        self._server.watchers.discard(self._notify)
        self._waiting.clear()
        self._transport = None

    def hang_up(self) -> None:
        """Abort the connection."""
        self._waiting.clear()
        if self._transport is not None:
            self._transport.abort()
