"""The verifier: one object in a workload that answers "is this token good?"."""

import asyncio
import os
import threading
from collections.abc import Collection
from pathlib import Path
from typing import ClassVar, Self
from weakref import WeakSet

from rescind.client import clock, settings
from rescind.client.holding import Claim, Holding
from rescind.client.session import ELSEWHERE, NO_ANSWER, Freshness, Session
from rescind.client.watch import Watch
from rescind.core import tokens
from rescind.core.conditions import UNCONDITIONAL
from rescind.core.verdict import Allowed, Denied, Reason, Verdict, permitted
from rescind.errors import UnreachableError
from rescind.wire.socket import Request

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

    def __init__(self, session: Session, *, audience: str | None) -> None:
        self._session = session
        self._audience = audience
        self._renewing = threading.Lock()
        self._impatient_until_s = 0.0
        self._closed = False
        self._watch = Watch(self, lambda: self._session)
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
        """Meet the sidecar at a socket, by default the one that RESCIND_SOCKET names.

        `audience` is what tokens must be meant for: by default the sidecar's service. A check that
        has to ask the sidecar may take `timeout_s` seconds in all before it is denied as
        `unavailable`. Of at most `most_entries` tokens the record is kept here. Raises
        UnreachableError.
        """
        socket = settings.socket_path() if path is None else Path(path)
        session = Session.open(socket, timeout_s=timeout_s, most_entries=most_entries)
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
        """Say whether a check can be answered now: the sidecar is there, and holds a lease.

        Meant for readiness probes. It may ask the socket, within the deadline of a check.
        """
        ends_s = self._session.deadline_s()
        for _ in range(_ATTEMPTS):
            session = self._session
            leased = session.leased(ends_s=ends_s)
            if leased is not ELSEWHERE:
                return leased
            if not self._renew(session, ends_s):
                return False
        return False

    @property
    def as_of(self) -> int:
        """The ledger's position that a check covers at least; 0 where the table is not mapped."""
        return self._session.as_of

    def freshness(self) -> Freshness:
        """Say how fresh an answer is that a check gives from now on."""
        return self._session.freshness()

    def check(  # noqa: C901, PLR0911 a call for its first lines would cost a tenth of the whole
        self,
        token: str,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        address: str | None = None,
        min_seq: int = 0,
    ) -> Verdict:
        """Judge a token for one call: needs every scope in `require`. Never raises for a bad one.

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
        ends_s = None
        for _ in range(_ATTEMPTS):
            session = self._session
            verdict = session.recall_at(token, min_seq) if min_seq else session.recall(token)
            if verdict is None:
                if not tokens.shaped(token):
                    return _MALFORMED
                ends_s = ends_s or session.deadline_s()
                request = self._request(
                    session,
                    token,
                    require=require,
                    audience=audience,
                    address=address,
                    min_seq=min_seq,
                )
                asked_ns = clock.boottime_ns()
                try:
                    response = session.ask(request, ends_s=ends_s)
                except UnreachableError:
                    verdict = ELSEWHERE
                else:
                    verdict = session.settle(token, response, asked_ns=asked_ns, min_seq=min_seq)
            if verdict is not None and verdict is not ELSEWHERE:
                return self._narrow(session, verdict, require, audience, address)
            ends_s = ends_s or session.deadline_s()
            if verdict is ELSEWHERE and not self._renew(session, ends_s):
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
        """Judge a token as `check` does; awaits only where the sidecar has to be asked."""
        if not min_seq:
            verdict = self._session.recall(token)
            if type(verdict) is Allowed:
                return self._narrow(self._session, verdict, require, audience, address)
        ends_s = None
        for _ in range(_ATTEMPTS):
            session = self._session
            verdict = session.recall_at(token, min_seq) if min_seq else session.recall(token)
            if verdict is None:
                if not tokens.shaped(token):
                    return _MALFORMED
                ends_s = ends_s or session.deadline_s()
                request = self._request(
                    session,
                    token,
                    require=require,
                    audience=audience,
                    address=address,
                    min_seq=min_seq,
                )
                asked_ns = clock.boottime_ns()
                try:
                    response = await session.aask(request, ends_s=ends_s)
                except UnreachableError:
                    verdict = ELSEWHERE
                else:
                    verdict = session.settle(token, response, asked_ns=asked_ns, min_seq=min_seq)
            if verdict is not None and verdict is not ELSEWHERE:
                return self._narrow(session, verdict, require, audience, address)
            ends_s = ends_s or session.deadline_s()
            if verdict is ELSEWHERE and not await self._arenew(session, ends_s):
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
        """Judge a token as `check` does, from memory alone; None says that somebody must be asked.

        For event loops that want to do without a task for each call: `acheck` does the rest.
        """
        session = self._session
        verdict = session.recall_at(token, min_seq) if min_seq else session.recall(token)
        if verdict is None or verdict is ELSEWHERE:
            return None
        return self._narrow(session, verdict, require, audience, address)

    def hold(
        self,
        token: str,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        address: str | None = None,
    ) -> Holding:
        """Cover work that outlasts a check: a stream, a job, a tool call. Needs what `check` does.

        `async with` gives the record, and cancels the body as soon as the token is denied:
        revoked, suspended, expired, without a scope in `require`, or no lease any more. The block
        then raises DeniedError; other cancellations pass, as with `asyncio.timeout`. `with`, in a
        thread, gives a `Held`, whose `revoked` is set then; it raises nothing at its end. Both
        raise DeniedError at the beginning for a token that is denied already.
        """
        return Holding(self._watch, Claim(token, frozenset(require), audience, address))

    def _request(
        self,
        session: Session,
        token: str,
        *,
        require: Collection[str],
        audience: str | None,
        address: str | None,
        min_seq: int,
    ) -> Request:
        if session.table is not None:
            return session.look(token, min_seq=min_seq)
        meant_for = self._meant_for(session, audience)
        return session.remote_check(
            token, tuple(require), meant_for, min_seq=min_seq, address=address
        )

    def _meant_for(self, session: Session, audience: str | None) -> str:
        return audience or self._audience or session.service

    def _narrow(
        self,
        session: Session,
        verdict: Verdict,
        require: Collection[str],
        audience: str | None,
        address: str | None,
    ) -> Verdict:
        """Judge what this call asks for, against the record: never remembered (design 6.6)."""
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

    def _renew(self, session: Session, ends_s: float) -> bool:
        """Meet whoever answers at the socket now, unless another thread just did.

        The first who finds nobody waits for a sidecar that restarts. Who comes in the second after
        that tries once: a sidecar that is gone for good must not cost each call its whole deadline.
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

    async def _arenew(self, session: Session, ends_s: float) -> bool:
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
        """Give a forked child connections of its own, and locks that nobody holds."""
        for verifier in list(cls._living):
            verifier._fork()  # noqa: SLF001 its own class

    def _fork(self) -> None:
        self._renewing = threading.Lock()
        inherited, self._session = self._session, self._session.forked()
        inherited.let_go()
        self._watch.forked(same_clock=inherited.same_clock)


os.register_at_fork(after_in_child=Verifier._after_fork_in_child)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] nobody else's business
