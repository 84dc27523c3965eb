"""The verifier: one object in a workload that answers "is this token good?"."""

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
from rescind.client.sidecar_session import NO_ANSWER, SUPERSEDED, Freshness, SidecarSession
from rescind.core import token_format
from rescind.core.conditions import UNCONDITIONAL
from rescind.core.verdict import Allowed, CheckRequest, Denied, Reason, Verdict, permitted
from rescind.errors import UnreachableError
from rescind.wire.socket_protocol import Request

_ATTEMPTS = 4
_MALFORMED = Denied(Reason.MALFORMED)
_INSUFFICIENT_SCOPE = Denied(Reason.INSUFFICIENT_SCOPE)

MOST_ENTRIES = 100_000
TIMEOUT_S = 0.25
_IMPATIENT_S = 1.0


class Verifier:
    """Check tokens against the sidecar beside this process.

    Safe to share between threads and event loops, and to carry across a fork. Make one with
    `attach` and keep it.
    """

    _living: ClassVar["WeakSet[Verifier]"] = WeakSet()

    def __init__(self, session: SidecarSession, *, audience: str | None) -> None:
        self._session = session
        self._audience = audience
        self._renewing = threading.Lock()
        self._impatient_until_s = 0.0
        self._closed = False
        self._watch = HoldRegistry(self, lambda: self._session)
        self._living.add(self)

    @classmethod
    def attach(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        audience: str | None = None,
        timeout_s: float = TIMEOUT_S,
        most_entries: int = MOST_ENTRIES,
    ) -> Self:
        """Connect to the sidecar at a socket, by default to the one that is set.

        Without a path the socket is RESCIND_SOCKET, or that of RESCIND_SERVICE in /run/rescind.
        Without these it is the RESCIND_SOCKET of `env` in the data directory, which `rescind up`
        writes; RESCIND_DATA names the directory.

        `audience` is what tokens must be meant for: by default the sidecar's service. A check that
        has to ask the sidecar is denied as `unavailable` after `timeout_s` seconds in all. Records
        of at most `most_entries` tokens are cached. Raises UnreachableError if no sidecar answers,
        and RescindError if none is set.
        """
        socket = settings.socket_path() if path is None else Path(path)
        session = SidecarSession.open(socket, timeout_s=timeout_s, most_entries=most_entries)
        return cls(session, audience=audience)

    @property
    def service(self) -> str:
        """The service that the sidecar belongs to."""
        return self._session.service

    @property
    def shares_memory(self) -> bool:
        """Whether checks run against the sidecar's table; otherwise each one asks its socket."""
        return self._session.table is not None

    def ready(self) -> bool:
        """Return True if a check can be answered now: the sidecar is there, and holds a lease.

        For readiness probes. It may ask the socket, within the deadline of a check.
        """
        ends_s = self._session.deadline_s()
        for _ in range(_ATTEMPTS):
            session = self._session
            leased = session.leased(ends_s=ends_s)
            if leased is not SUPERSEDED:
                return leased
            if not self._renew(session, ends_s):
                return False
        return False

    @property
    def as_of(self) -> int:
        """The ledger's position that a check covers at least; 0 where the table is not mapped."""
        return self._session.as_of

    def freshness(self) -> Freshness:
        """Return how fresh the answer of a check is from now on."""
        return self._session.freshness()

    def check(
        self,
        token: str,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        address: str | None = None,
        min_seq: int = 0,
    ) -> Verdict:
        """Check a token for one call. It needs every scope in `require`; a bad one never raises.

        The answer holds at the moment of the check. Do not keep it: check again next time.
        `address` is the caller's, for tokens that are good from some networks only.
        `min_seq` is a position of the ledger that the answer must cover, such as the `seq` that a
        revocation returned: a sidecar that has not come so far catches up first, or the token is
        denied as `unavailable`.
        """
        if not min_seq:
            verdict = self._session.recall(token)
            if type(verdict) is Allowed:
                record = verdict.record
                # What `_narrow` says, without the call: that would be a tenth of the check.
                if record.audience or record.conditions is not UNCONDITIONAL:
                    return self._narrow(self._session, verdict, require, audience, address)
                if not require or record.scopes.issuperset(require):
                    return verdict
                return verdict if record.matches(require) else _INSUFFICIENT_SCOPE
        return self.check_request(CheckRequest(token, require, audience, address, min_seq))

    def check_request(self, request: CheckRequest) -> Verdict:
        """Check a token as `check` does. The arguments come as one value."""
        ends_s = None
        for _ in range(_ATTEMPTS):
            session = self._session
            verdict = session.recall_at(request.token, request.min_seq)
            if verdict is None:
                if not token_format.shaped(request.token):
                    return _MALFORMED
                ends_s = ends_s or session.deadline_s()
                asked_ns = clock.boottime_ns()
                try:
                    response = session.ask(self._question(session, request), ends_s=ends_s)
                except UnreachableError:
                    verdict = SUPERSEDED
                else:
                    verdict = session.apply_response(
                        request.token, response, asked_ns=asked_ns, min_seq=request.min_seq
                    )
            if verdict is not None and verdict is not SUPERSEDED:
                return self._narrowed(session, verdict, request)
            ends_s = ends_s or session.deadline_s()
            if verdict is SUPERSEDED and not self._renew(session, ends_s):
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
        """Check a token as `check` does; await only where the sidecar has to be asked."""
        if not min_seq:
            verdict = self._session.recall(token)
            if type(verdict) is Allowed:
                return self._narrow(self._session, verdict, require, audience, address)
        return await self.acheck_request(CheckRequest(token, require, audience, address, min_seq))

    async def acheck_request(self, request: CheckRequest) -> Verdict:
        """Check a token as `acheck` does. The arguments come as one value."""
        ends_s = None
        for _ in range(_ATTEMPTS):
            session = self._session
            verdict = session.recall_at(request.token, request.min_seq)
            if verdict is None:
                if not token_format.shaped(request.token):
                    return _MALFORMED
                ends_s = ends_s or session.deadline_s()
                asked_ns = clock.boottime_ns()
                try:
                    response = await session.aask(self._question(session, request), ends_s=ends_s)
                except UnreachableError:
                    verdict = SUPERSEDED
                else:
                    verdict = session.apply_response(
                        request.token, response, asked_ns=asked_ns, min_seq=request.min_seq
                    )
            if verdict is not None and verdict is not SUPERSEDED:
                return self._narrowed(session, verdict, request)
            ends_s = ends_s or session.deadline_s()
            if verdict is SUPERSEDED and not await self._arenew(session, ends_s):
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

        For event loops that avoid a task for each call: call `acheck` when it returns None.
        """
        session = self._session
        verdict = session.recall_at(token, min_seq) if min_seq else session.recall(token)
        if verdict is None or verdict is SUPERSEDED:
            return None
        return self._narrow(session, verdict, require, audience, address)

    def recall_request(self, request: CheckRequest) -> Verdict | None:
        """Check a token as `recall` does. The arguments come as one value."""
        return self.recall(
            request.token,
            require=request.require,
            audience=request.audience,
            address=request.address,
            min_seq=request.min_seq,
        )

    def hold(
        self,
        token: str,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        address: str | None = None,
    ) -> Hold:
        """Cover work that outlasts a check: a stream, a job, a tool call. Needs what `check` does.

        `async with` gives the record, and cancels the body as soon as the token is denied:
        revoked, suspended, expired, without a scope in `require`, or no lease any more. The block
        then raises DeniedError; other cancellations pass, as with `asyncio.timeout`. `with`, in a
        thread, gives a `ThreadHold`, whose `revoked` is set then; it raises nothing at its end.
        Both raise DeniedError at the beginning for a token that is denied already.
        """
        return Hold(self._watch, CheckRequest(token, frozenset(require), audience, address))

    def _question(self, session: SidecarSession, request: CheckRequest) -> Request:
        if session.table is not None:
            return session.look(request.token, min_seq=request.min_seq)
        return session.remote_check(
            request.token,
            tuple(request.require),
            self._meant_for(session, request.audience),
            min_seq=request.min_seq,
            address=request.address,
        )

    def _meant_for(self, session: SidecarSession, audience: str | None) -> str:
        return audience or self._audience or session.service

    def _narrowed(
        self, session: SidecarSession, verdict: Verdict, request: CheckRequest
    ) -> Verdict:
        return self._narrow(session, verdict, request.require, request.audience, request.address)

    def _narrow(
        self,
        session: SidecarSession,
        verdict: Verdict,
        require: Collection[str],
        audience: str | None,
        address: str | None,
    ) -> Verdict:
        """Check what this call requires against the record: never cached (design 6.6)."""
        if isinstance(verdict, Denied):
            return verdict
        denied = permitted(
            verdict.record,
            require=require,
            audience=self._meant_for(session, audience),
            address=address,
            labels=session.labels,
        )
        return denied or verdict

    def _renew(self, session: SidecarSession, ends_s: float) -> bool:
        """Reconnect, unless another thread already has.

        The first caller to fail waits for a sidecar that restarts. For one second afterwards,
        callers try only once: a sidecar that is gone must not cost each call its whole deadline.
        """
        now_s = clock.monotonic_s()
        if self._closed or not self._renewing.acquire(timeout=max(0.0, ends_s - now_s)):
            return False
        try:
            if session is not self._session:
                return True
            patient = now_s >= self._impatient_until_s
            try:
                self._session = session.reopened(ends_s=ends_s, patient=patient)
            except UnreachableError:
                if patient:
                    self._impatient_until_s = clock.monotonic_s() + _IMPATIENT_S
                return False
            if self._closed:
                self._session.close()  # it was hung up while we met this one, and could not see it
                return False
        finally:
            self._renewing.release()
        session.close()
        return True

    async def _arenew(self, session: SidecarSession, ends_s: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, ends_s - clock.monotonic_s())):
                return await asyncio.to_thread(self._renew, session, ends_s)
        except TimeoutError:
            return False
        except RuntimeError:  # no thread begins any more: the interpreter ends
            return False

    def close(self) -> None:
        """Hang up. Checks that are under way are denied as `unavailable`, and holds end as that."""
        self._closed = True
        self._watch.close()
        self._session.close()

    @classmethod
    def _after_fork_in_child(cls) -> None:
        """Replace connections and locks in a forked child: its parent may hold them."""
        for verifier in list(cls._living):
            verifier._fork()  # noqa: SLF001 its own class

    def _fork(self) -> None:
        self._renewing = threading.Lock()
        inherited, self._session = self._session, self._session.forked()
        inherited.let_go()
        self._watch.forked(same_clock=inherited.same_clock)


os.register_at_fork(after_in_child=Verifier._after_fork_in_child)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] nobody else's business
