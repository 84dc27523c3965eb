"""The verifier: the object in a workload that checks tokens."""

import asyncio
import os
import threading
from collections.abc import Collection
from pathlib import Path
from typing import ClassVar, Self
from weakref import WeakSet

from rescind.client import clock, settings
from rescind.client.holds.hold import Hold
from rescind.client.holds.registry import HoldRegistry
from rescind.client.lease_end import Freshness
from rescind.client.sidecar_connection import NO_ANSWER, SUPERSEDED, SidecarConnection
from rescind.core import token_format
from rescind.core.conditions import UNCONDITIONAL
from rescind.core.token_format import TokenHash
from rescind.core.verdict import Allowed, CheckRequest, Denied, Reason, Verdict, permitted
from rescind.errors import UnreachableError
from rescind.wire.socket_protocol import Request

_ATTEMPTS = 4
_MALFORMED = Denied(Reason.MALFORMED)
_INSUFFICIENT_SCOPE = Denied(Reason.INSUFFICIENT_SCOPE)

MAX_ENTRIES = 100_000
TIMEOUT_S = 0.25
_NO_WAIT_S = 1.0


class Verifier:
    """A checker of tokens, connected to the sidecar beside this process.

    One verifier may be shared between threads and event loops, and survives a fork. Create it once
    with `attach` and keep it.
    """

    _instances: ClassVar["WeakSet[Verifier]"] = WeakSet()

    def __init__(self, connection: SidecarConnection, *, audience: str | None) -> None:
        self._connection = connection
        self._audience = audience
        self._reconnecting = threading.Lock()
        self._no_wait_until_s = 0.0
        self._closed = False
        self._holds = HoldRegistry(self, lambda: self._connection)
        self._instances.add(self)

    @classmethod
    def attach(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        audience: str | None = None,
        timeout_s: float = TIMEOUT_S,
        most_entries: int = MAX_ENTRIES,
    ) -> Self:
        """Connect to the sidecar at a socket, by default the configured one.

        Without a path, the socket is RESCIND_SOCKET, or that of RESCIND_SERVICE in /run/rescind.
        Without these, it is the RESCIND_SOCKET of `env` in the data directory, which `rescind up`
        writes; RESCIND_DATA names the directory.

        `audience` is the audience that tokens must have, by default the sidecar's service. A check
        that has to ask the sidecar is denied as `unavailable` after `timeout_s` seconds in all.
        Records of at most `most_entries` tokens are cached. Raises UnreachableError if no sidecar
        answers, and RescindError if no socket is configured.
        """
        socket = settings.socket_path() if path is None else Path(path)
        connection = SidecarConnection.open(socket, timeout_s=timeout_s, most_entries=most_entries)
        return cls(connection, audience=audience)

    @property
    def service(self) -> str:
        """Return the service that the sidecar belongs to."""
        return self._connection.service

    @property
    def shares_memory(self) -> bool:
        """Return True if checks read the sidecar's table; otherwise each check is a request."""
        return self._connection.table is not None

    def ready(self) -> bool:
        """Return True if the sidecar is running and holds a lease, so that checks are answered.

        For readiness probes. It may send a request to the sidecar, within the deadline of a check.
        """
        deadline_s = self._connection.new_deadline_s()
        for _ in range(_ATTEMPTS):
            connection = self._connection
            has_lease = connection.leased(deadline_s=deadline_s)
            if has_lease is not SUPERSEDED:
                return has_lease
            if not self._reconnect(connection, deadline_s):
                return False
        return False

    @property
    def as_of(self) -> int:
        """Return the seq that a check covers at least; 0 if the table is not mapped."""
        return self._connection.as_of

    def freshness(self) -> Freshness:
        """Return how fresh the answer of a check is at least, from now on."""
        return self._connection.freshness()

    def check(
        self,
        token: str,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        address: str | None = None,
        min_seq: int = 0,
    ) -> Verdict:
        """Check a token for one call, for which it needs every scope in `require`.

        A bad token never raises: the verdict is Denied. The verdict holds at the moment of the
        check. Do not keep it: check again next time.
        `address` is the caller's, for tokens that are valid from some networks only.
        `min_seq` is the seq that the answer must cover, such as the `seq` that a revocation
        returned. A sidecar that has not applied it catches up first, or the token is denied as
        `unavailable`.
        """
        if not min_seq:
            verdict = self._connection.recall(token)
            if type(verdict) is Allowed:
                record = verdict.record
                # As `_check_requirements`, without the call, which would cost a tenth of the check.
                if record.audience or record.conditions is not UNCONDITIONAL:
                    return self._check_requirements(
                        self._connection, verdict, require, audience, address
                    )
                if not require or record.scopes.issuperset(require):
                    return verdict
                return verdict if record.matches(require) else _INSUFFICIENT_SCOPE
        return self.check_request(CheckRequest(token, require, audience, address, min_seq))

    def check_request(self, request: CheckRequest) -> Verdict:
        """Check a token as `check` does, with the arguments as one value."""
        deadline_s = None
        for _ in range(_ATTEMPTS):
            connection = self._connection
            verdict = connection.recall_at(request.token, request.min_seq)
            if verdict is None:
                if not token_format.shaped(request.token):
                    return _MALFORMED
                deadline_s = deadline_s or connection.new_deadline_s()
                sent_ns = clock.boottime_ns()
                try:
                    response = connection.send(
                        self._build_request(connection, request), deadline_s=deadline_s
                    )
                except UnreachableError:
                    verdict = SUPERSEDED
                else:
                    verdict = connection.apply_response(
                        request.token, response, sent_ns=sent_ns, min_seq=request.min_seq
                    )
            if verdict is not None and verdict is not SUPERSEDED:
                return self._check_call(connection, verdict, request)
            deadline_s = deadline_s or connection.new_deadline_s()
            if verdict is SUPERSEDED and not self._reconnect(connection, deadline_s):
                return NO_ANSWER
        return NO_ANSWER

    async def acheck(
        self,
        token: str,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        address: str | None = None,
        min_seq: int = 0,
    ) -> Verdict:
        """Check a token as `check` does; await only if the sidecar must be asked."""
        if not min_seq:
            verdict = self._connection.recall(token)
            if type(verdict) is Allowed:
                return self._check_requirements(
                    self._connection, verdict, require, audience, address
                )
        return await self.acheck_request(CheckRequest(token, require, audience, address, min_seq))

    async def acheck_request(self, request: CheckRequest) -> Verdict:
        """Check a token as `acheck` does, with the arguments as one value."""
        deadline_s = None
        for _ in range(_ATTEMPTS):
            connection = self._connection
            verdict = connection.recall_at(request.token, request.min_seq)
            if verdict is None:
                if not token_format.shaped(request.token):
                    return _MALFORMED
                deadline_s = deadline_s or connection.new_deadline_s()
                sent_ns = clock.boottime_ns()
                try:
                    response = await connection.asend(
                        self._build_request(connection, request), deadline_s=deadline_s
                    )
                except UnreachableError:
                    verdict = SUPERSEDED
                else:
                    verdict = connection.apply_response(
                        request.token, response, sent_ns=sent_ns, min_seq=request.min_seq
                    )
            if verdict is not None and verdict is not SUPERSEDED:
                return self._check_call(connection, verdict, request)
            deadline_s = deadline_s or connection.new_deadline_s()
            if verdict is SUPERSEDED and not await self._areconnect(connection, deadline_s):
                return NO_ANSWER
        return NO_ANSWER

    def recall(
        self,
        token: str,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        address: str | None = None,
        min_seq: int = 0,
    ) -> Verdict | None:
        """Check a token from memory alone; return None if the sidecar must be asked.

        For event loops that avoid a task for each call: when it returns None, call `acheck`.
        """
        connection = self._connection
        verdict = connection.recall_at(token, min_seq) if min_seq else connection.recall(token)
        if verdict is None or verdict is SUPERSEDED:
            return None
        return self._check_requirements(connection, verdict, require, audience, address)

    def recall_request(self, request: CheckRequest) -> Verdict | None:
        """Check a token as `recall` does, with the arguments as one value."""
        connection = self._connection
        verdict = connection.recall_at(request.token, request.min_seq)
        if verdict is None or verdict is SUPERSEDED:
            return None
        return self._check_call(connection, verdict, request)

    def hold(
        self,
        token: str,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        address: str | None = None,
    ) -> Hold:
        """Return a hold for work that outlasts a check: a stream, a job, a tool call.

        The parameters are those of `check`. `async with` yields the record, and cancels the body as
        soon as the token is denied: revoked, suspended, expired, without a scope in `require`, or
        because the lease ended. The block then raises DeniedError. Other cancellations pass, as
        with `asyncio.timeout`. `with`, in a thread, yields a `ThreadHold`, whose `revoked` is set
        when the token is denied; the end of the block raises nothing. Both raise DeniedError at the
        beginning for a token that is denied already.
        """
        return Hold(self._holds, CheckRequest(token, frozenset(require), audience, address))

    def hold_by_hash(
        self,
        token_hash: bytes,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
    ) -> Hold:
        """Return a hold for work whose token is known by its hash alone, such as a queued job.

        The hash is `token_hash` of the record that a check returned. It is not a secret, so a queue
        may carry it. Otherwise this is `hold`: the hold counts as no use of the token, and a token
        that is good from some networks only is denied as `wrong_address`. Raises ValueError for
        another length than 32 bytes.
        """
        request = CheckRequest(TokenHash(token_hash), frozenset(require), audience)
        return Hold(self._holds, request)

    def _build_request(self, connection: SidecarConnection, request: CheckRequest) -> Request:
        if connection.table is not None:
            return connection.record_request(request.token, min_seq=request.min_seq)
        return connection.verdict_request(
            request.token,
            tuple(request.require),
            self._choose_audience(connection, request.audience),
            min_seq=request.min_seq,
            address=request.address,
        )

    def _choose_audience(self, connection: SidecarConnection, audience: str | None) -> str:
        return audience or self._audience or connection.service

    def _check_call(
        self, connection: SidecarConnection, verdict: Verdict, request: CheckRequest
    ) -> Verdict:
        return self._check_requirements(
            connection, verdict, request.require, request.audience, request.address
        )

    def _check_requirements(
        self,
        connection: SidecarConnection,
        verdict: Verdict,
        require: Collection[str],
        audience: str | None,
        address: str | None,
    ) -> Verdict:
        """Check the requirements of this call against the record; never cached (design 6.6)."""
        if isinstance(verdict, Denied):
            return verdict
        denial = permitted(
            verdict.record,
            require=require,
            audience=self._choose_audience(connection, audience),
            address=address,
            labels=connection.labels,
        )
        return denial or verdict

    def _reconnect(self, connection: SidecarConnection, deadline_s: float) -> bool:
        """Reconnect, unless another thread already has. Return True if there is a new connection.

        The first caller to fail waits for a sidecar that restarts. For one second afterwards,
        callers try only once: an absent sidecar must not cost each call its whole deadline.
        """
        now_s = clock.monotonic_s()
        if self._closed or not self._reconnecting.acquire(timeout=max(0.0, deadline_s - now_s)):
            return False
        try:
            if connection is not self._connection:
                return True
            wait = now_s >= self._no_wait_until_s
            try:
                self._connection = connection.reconnect(deadline_s=deadline_s, wait=wait)
            except UnreachableError:
                if wait:
                    self._no_wait_until_s = clock.monotonic_s() + _NO_WAIT_S
                return False
            if self._closed:
                self._connection.close()  # `close` ran meanwhile, and closed only the former one
                return False
        finally:
            self._reconnecting.release()
        connection.close()
        return True

    async def _areconnect(self, connection: SidecarConnection, deadline_s: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, deadline_s - clock.monotonic_s())):
                return await asyncio.to_thread(self._reconnect, connection, deadline_s)
        except TimeoutError:
            return False
        except RuntimeError:  # the interpreter is shutting down, and starts no thread
            return False

    def close(self) -> None:
        """Close the connections. Checks in flight are denied, and holds end, as `unavailable`."""
        self._closed = True
        self._holds.close()
        self._connection.close()

    @classmethod
    def _after_fork_in_child(cls) -> None:
        """Replace connections and locks in a forked child: the parent may hold them."""
        for verifier in list(cls._instances):
            verifier._reset_after_fork()  # noqa: SLF001 its own class

    def _reset_after_fork(self) -> None:
        self._reconnecting = threading.Lock()
        former, self._connection = self._connection, self._connection.forked()
        former.close_inherited()
        self._holds.forked(same_clock=former.same_clock)


os.register_at_fork(after_in_child=Verifier._after_fork_in_child)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] its own module
