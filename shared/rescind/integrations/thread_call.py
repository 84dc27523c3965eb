"""One call that a thread of the server answers, held until its response has ended.

A thread cannot be interrupted. When the token is denied:

* A response that has not begun is replaced by the refusal, once the application has returned it.
* A response that has begun is broken off at its next part. If the server shows its socket, the
  client is cut off at once, even if the application is waiting for its next part.

A connection is broken off as if the client had reset it: servers expect that, and log no traceback.
"""

import errno
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Self

from rescind.client.holds.hold import Hold, ThreadHold
from rescind.core.record import Record
from rescind.core.verdict import Reason
from rescind.errors import DeniedError
from rescind.integrations import cgi_variables
from rescind.integrations.cgi_variables import Variables
from rescind.integrations.guard import Guard
from rescind.wire.bearer import Refusal


class ThreadCall:
    """One call under a token. `held` is for the application: its `revoked` is set at the end."""

    def __init__(
        self, guard: Guard, holding: Hold, held: ThreadHold, connection: socket.socket | None
    ) -> None:
        self.held = held
        self._guard = guard
        self._holding = holding
        self._connection = connection
        self._open = threading.RLock()  # the collector may end a call while one is cut off
        self._ended = False

    @classmethod
    def begin(cls, guard: Guard, variables: Variables) -> Self | Refusal:
        """Check a request and hold its token until `end`, or return the refusal."""
        holding = guard.hold(
            cgi_variables.headers_of(variables), cgi_variables.address_of(variables)
        )
        if isinstance(holding, Refusal):
            return holding
        try:
            held = holding.__enter__()  # it ends with the response, not with a block
        except DeniedError:
            return guard.refuse(holding.reason or Reason.UNAVAILABLE)
        return cls(guard, holding, held, cgi_variables.connection_of(variables))

    @property
    def record(self) -> Record:
        """Return the record of the token."""
        return self.held.record

    @property
    def refusal(self) -> Refusal | None:
        """Return the refusal that a new call would get, once the token is denied."""
        return None if self.held.reason is None else self._guard.refuse(self.held.reason)

    def check_unbroken(self) -> None:
        """Raise ConnectionResetError once the token is denied."""
        if self.held.revoked.is_set():
            raise ConnectionResetError(errno.ECONNRESET, f"the token is denied: {self.held.reason}")

    def stream(self, body: Iterable[bytes]) -> "HeldBody":
        """Return a body that ends with the token. Its `close` ends the call."""
        self.cut_when_denied()
        return HeldBody(self, body)

    def cut_when_denied(self) -> None:
        """Cut the client off as soon as the token is denied, from now until `end`."""
        self.held.call_when_denied(self._shut_down)

    def end(self) -> None:
        """End the hold. The server may use its connection for another request now."""
        with self._open:
            self._ended = True
        self._holding.__exit__()

    def _shut_down(self) -> None:
        """Cut the client off, in the thread that checks holds."""
        with self._open, suppress(OSError):  # the client may have disconnected meanwhile
            if self._connection is not None and not self._ended:
                # Not the method of an SSLSocket: it removes the encryption before it shuts down.
                socket.socket.shutdown(self._connection, socket.SHUT_RDWR)


class HeldBody(Iterator[bytes]):
    """The parts of a response, broken off when the token is denied."""

    def __init__(self, call: ThreadCall, body: Iterable[bytes]) -> None:
        self._call = call
        self._body = body
        self._parts = iter(body)

    def __next__(self) -> bytes:
        """Return the next part. Raises ConnectionResetError once the token is denied."""
        part = next(self._parts, None)
        self._call.check_unbroken()
        if part is None:
            raise StopIteration
        return part

    def __del__(self) -> None:
        """End the call of a response that was replaced, and is never closed."""
        self._call.end()

    def close(self) -> None:
        """End the call and close the application's body."""
        self._call.end()
        close = getattr(self._body, "close", None)
        if close is not None:
            close()
