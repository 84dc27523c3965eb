"""Limits for the HTTP connections of a server: their number, and the duration of each phase.

uvicorn has no such limits: it keeps a connection that sends nothing, or a part of a request, for
ever. `Connection` is uvicorn's h11 protocol with deadlines; `Connections` closes excess ones.

    phase   state of the connection                   longest duration
    HEAD    no request yet, or a part of a head       head_s
    BODY    a whole head and a part of its body       body_s, from the end of the head
    WORK    a whole request that is being answered    as long as the application takes
    IDLE    answered, and nothing received since      idle_s

A client that does not read what it is sent is disconnected after stalled_s, in any phase. When
there is no room for a new connection, another one is closed for it, in this order:

    1. without a proven request: the connection that has been longest in HEAD, BODY or IDLE
    2. without a proven request: the connection that has been longest in WORK
    3. with a proven request: the connection that has been longest outside WORK

So silent clients displace each other, and never an administrator or a sidecar whose request was
proven. A proof is valid for one request and the pause after it.
"""

import asyncio
import ipaddress
import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from rescind_runtime.net.certificates import ReloadingCertificate
from rescind_runtime.net.tls_protocol import Secured

_READ_BYTES = 16 * 1024
_CLOSING_S = 2.0
_PREFIX_OF_A_SITE = 64  # of an IPv6 address: one customer has all addresses with these bits
_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-length: 0\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for the duration of connections (seconds) and for their number."""

    head_s: float = 10.0
    body_s: float = 30.0
    idle_s: float = 60.0
    stalled_s: float = 30.0
    look_s: float = 1.0
    most: int = 4_096
    most_of_peer: int = 1_024
    """Connections without a proof from one address; an IPv6 site (/64) counts as one address."""
    most_of_owner: int = 256
    """Connections with a proof by one token or instance; further ones count as without a proof."""


class Phase(Enum):
    """The phase of a connection: the event that it waits for."""

    HEAD = auto()
    BODY = auto()
    WORK = auto()
    IDLE = auto()


class _Queue:
    """Connections in the order in which they are closed for others."""

    __slots__ = ("idle", "working")

    def __init__(self) -> None:
        self.idle: OrderedDict[Connection, None] = OrderedDict()
        self.working: OrderedDict[Connection, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self.idle) + len(self.working)

    def put(self, connection: "Connection") -> None:
        """Add a connection, or move it, to the end."""
        self.drop(connection)
        chosen = self.working if connection.phase is Phase.WORK else self.idle
        chosen[connection] = None

    def drop(self, connection: "Connection") -> None:
        """Remove a connection, if it is present."""
        self.idle.pop(connection, None)
        self.working.pop(connection, None)

    def first(self) -> "Connection | None":
        """Return the connection to close first, or None."""
        return next(iter(self.idle), None) or next(iter(self.working), None)


class Connections:
    """The connections of one server."""

    def __init__(
        self, limits: Limits, *, many_behind: Callable[[str], bool] = lambda _: False
    ) -> None:
        """Store the limits; `many_behind` returns True for a proxy, which has many clients."""
        self.limits = limits
        self.buffer = memoryview(bytearray(_READ_BYTES))
        """The buffer of every connection: each read is small, and is copied at once."""
        self._many_behind = many_behind
        self._all: set[Connection] = set()
        self._unproven = _Queue()
        self._proven = _Queue()
        self._peers: dict[str, _Queue] = {}
        self._owners: Counter[str] = Counter()
        self.admitted = 0
        self.closed_for_others = 0

    def __len__(self) -> int:
        return len(self._all)

    def admit(self, connection: "Connection") -> bool:
        """Add a connection, closing another if needed; return False if there is no room."""
        peer = self._peers.get(connection.peer)
        alone = not self._many_behind(connection.address)
        if alone and peer is not None and len(peer) >= self.limits.most_of_peer:
            self._close(peer.first())
        elif len(self._all) >= self.limits.most:
            self._close(self._unproven.first() or next(iter(self._proven.idle), None))
        if len(self._all) >= self.limits.most:
            return False
        self.admitted += 1
        self._all.add(connection)
        self.requeue(connection)
        return True

    def _close(self, connection: "Connection | None") -> None:
        if connection is not None:
            self.closed_for_others += 1
            self.remove(connection)
            connection.transport.abort()

    def remove(self, connection: "Connection") -> None:
        """Remove a connection."""
        if connection not in self._all:
            return
        self._all.remove(connection)
        self._drop(connection)
        self._remove_owner(connection)

    def requeue(self, connection: "Connection") -> None:
        """Move a connection to the queue of its phase and its proof."""
        if connection not in self._all:
            return
        if connection.owner is not None:
            self._proven.put(connection)
            return
        self._unproven.put(connection)
        self._peers.setdefault(connection.peer, _Queue()).put(connection)

    def prove(self, connection: "Connection", owner: str) -> None:
        """Record the id of the token or instance that proved a connection's request."""
        if connection not in self._all or connection.owner == owner:
            return
        self.disprove(connection)
        if self._owners[owner] < self.limits.most_of_owner:
            self._drop(connection)
            self._owners[owner] += 1
            connection.owner = owner
            self.requeue(connection)

    def disprove(self, connection: "Connection") -> None:
        """Remove a connection's proof."""
        if connection.owner is not None:
            self._drop(connection)
            self._remove_owner(connection)
            self.requeue(connection)

    def _drop(self, connection: "Connection") -> None:
        self._proven.drop(connection)
        self._unproven.drop(connection)
        peer = self._peers.get(connection.peer)
        if peer is not None:
            peer.drop(connection)
            if not peer:
                del self._peers[connection.peer]

    def _remove_owner(self, connection: "Connection") -> None:
        owner, connection.owner = connection.owner, None
        if owner is not None:
            self._owners[owner] -= 1
            if not self._owners[owner]:
                del self._owners[owner]

    async def end_idle(self) -> None:
        """Close connections that take too long, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.limits.look_s)
            now = loop.time()
            for connection in tuple(self._all):
                connection.close_if_late(now)


class Config(uvicorn.Config):
    """uvicorn's configuration with the connections of this server."""

    def __init__(
        self, app: Any, connections: Connections, certificate: ReloadingCertificate | None = None
    ) -> None:
        secured = Secured(certificate)

        def connect(*arguments: Any, **named: Any) -> asyncio.BaseProtocol:
            return secured.wrap(Connection(*arguments, **named))

        super().__init__(
            app,
            http=cast("type[asyncio.Protocol]", connect),
            ws="none",  # no limit would apply to an upgraded connection
            log_config=None,
            log_level="error",  # a lower level logs a line for each unreadable request
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,  # by default uvicorn trusts the headers of loopback
            timeout_graceful_shutdown=2,
            timeout_keep_alive=math.ceil(connections.limits.idle_s),
        )
        self.connections = connections


class Connection(H11Protocol, asyncio.BufferedProtocol):
    """One connection, which is closed when it takes too long."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        H11Protocol.__init__(self, config, server_state, app_state, _loop)
        self.registry = config.connections
        self.phase = Phase.HEAD
        self.owner: str | None = None
        """The id of the token or instance that proved the latest request."""
        self.address = ""
        self.peer = ""
        """The address, or the network of a site, by which its peers are counted."""
        self._application = self.app
        self.app = self._call
        self._proved = False
        self._since = self.loop.time()
        self._stalled: float | None = None
        self._closing: float | None = None

    def prove(self, owner: str) -> None:
        """Mark the current request as authenticated: it is not closed for others now."""
        self._proved = True
        self.registry.prove(self, owner)

    def disprove(self) -> None:
        """Mark the current request as not authenticated."""
        self._proved = False
        self.registry.disprove(self)

    # Callbacks of the transport ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the connection, or close it at once if there is no room."""
        super().connection_made(cast("asyncio.Transport", transport))
        self.address = self.client[0] if self.client else ""
        self.peer = site(self.address)
        if not self.registry.admit(self):
            self._close_after(_FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from those of the server."""
        self.registry.remove(self)
        super().connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 our buffer has a fixed size
        """Return the buffer that all connections read into."""
        return self.registry.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Handle the bytes that were read into the buffer."""
        self.data_received(bytes(self.registry.buffer[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Handle the received bytes."""
        if self._closing is not None:
            return
        try:
            super().data_received(data)
        except h11.LocalProtocolError:
            # uvicorn cannot answer 400 to a request that is answered already.
            self.transport.abort()
            return
        self._update_phase()
        # Until the application has answered, what it does not request stays with the sender.
        if self.phase is Phase.BODY and self.cycle.body and not self.cycle.response_complete:
            self.flow.pause_reading()

    def pause_writing(self) -> None:
        """Start the deadline by which the client has to read."""
        self._stalled = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Cancel the deadline by which the client has to read."""
        self._stalled = None
        super().resume_writing()

    # Callbacks of uvicorn ---------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """Continue with the next request, which needs a proof of its own."""
        if not self._proved:
            self.registry.disprove(self)
        self._proved = False
        super().on_response_complete()
        self._update_phase()

    async def _call(self, scope: Any, receive: Any, send: Any) -> None:
        scope[SCOPE_KEY] = self
        await self._application(scope, receive, send)

    # ------------------------------------------------------------------------------------------

    def _update_phase(self) -> None:
        phase = self._current_phase()
        if phase is not self.phase:
            self.phase = phase
            self._since = self.loop.time()
            self.registry.requeue(self)

    def _current_phase(self) -> Phase:
        if self.conn.their_state is h11.SEND_BODY:
            return Phase.BODY
        cycle = self._cycle
        if cycle is not None and not cycle.response_complete:
            return Phase.WORK
        begun = cycle is None or bool(self.conn.trailing_data[0])
        return Phase.HEAD if begun else Phase.IDLE

    def close_if_late(self, now: float) -> None:
        """Close this connection if it has taken too long."""
        limits = self.registry.limits
        if self._closing is not None:
            if now - self._closing > _CLOSING_S:
                self.transport.abort()
            return
        if self._stalled is not None and now - self._stalled > limits.stalled_s:
            self.transport.abort()
            return
        left_s = {
            Phase.HEAD: limits.head_s,
            Phase.BODY: limits.body_s,
            Phase.IDLE: limits.idle_s,
        }.get(self.phase)
        if left_s is not None and now - self._since > left_s:
            cycle = self._cycle if self.phase is Phase.BODY else None
            answered = cycle is not None and cycle.response_started
            self._close_after(b"" if self.phase is Phase.IDLE or answered else _SLOW)

    @property
    def _cycle(self) -> RequestResponseCycle | None:
        # None before the first request, although uvicorn's annotation excludes None.
        return cast("RequestResponseCycle | None", self.cycle)

    def _close_after(self, answer: bytes) -> None:
        """Send a last answer, and close; `close_if_late` aborts if the client does not read it."""
        self._closing = self.loop.time()
        if answer:
            self.transport.write(answer)
        self.transport.close()


SCOPE_KEY = "rescind.connection"
"""The key of a request's `Connection` in the ASGI scope."""


def site(address: str) -> str:
    """Return the network that clients of one customer share: an IPv4 address, or an IPv6 /64."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, _PREFIX_OF_A_SITE), strict=False))
    return address
