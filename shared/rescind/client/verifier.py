"""The verifier: one object in a workload that answers "is this token good?"."""

import asyncio
import os
import threading
from collections.abc import Collection
from pathlib import Path
from typing import ClassVar, Self
from weakref import WeakSet

from rescind.client import settings
from rescind.client.session import ELSEWHERE, Freshness, Session
from rescind.core import tokens
from rescind.core.record import Record
from rescind.core.verdict import Allowed, Denied, Reason, Verdict
from rescind.errors import UnreachableError
from rescind.wire.socket import Request

_ATTEMPTS = 4
_UNAVAILABLE = Denied(Reason.UNAVAILABLE)
_MALFORMED = Denied(Reason.MALFORMED)
_WRONG_AUDIENCE = Denied(Reason.WRONG_AUDIENCE)
_INSUFFICIENT_SCOPE = Denied(Reason.INSUFFICIENT_SCOPE)

MOST_ENTRIES = 100_000
TIMEOUT_S = 0.25


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

        `audience` is what tokens must be meant for: by default the sidecar's service. A look-up at
        the sidecar may take `timeout_s` seconds before the answer is `unavailable`. Of at most
        `most_entries` tokens the record is kept here. Raises UnreachableError.
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

    def freshness(self) -> Freshness:
        """Say how fresh an answer is that a check gives from now on."""
        return self._session.freshness()

    def check(
        self, token: str, *, require: Collection[str] = (), audience: str | None = None
    ) -> Verdict:
        """Judge a token for one call: needs every scope in `require`. Never raises for a bad one.

        The answer holds at the moment of the check. Do not keep it: check again next time.
        """
        verdict = self._session.recall(token)
        if type(verdict) is Allowed and _grants(verdict.record, require):
            return verdict
        for _ in range(_ATTEMPTS):
            session = self._session
            verdict = session.recall(token)
            if verdict is None:
                if not tokens.shaped(token):
                    return _MALFORMED
                try:
                    response = session.ask(self._request(session, token, require, audience))
                except UnreachableError:
                    verdict = ELSEWHERE
                else:
                    verdict = session.settle(token, response)
            if verdict is not None and verdict is not ELSEWHERE:
                return self._narrow(session, verdict, require, audience)
            if verdict is ELSEWHERE and not self._renew(session):
                return _UNAVAILABLE
        return _UNAVAILABLE

    async def acheck(
        self, token: str, *, require: Collection[str] = (), audience: str | None = None
    ) -> Verdict:
        """Judge a token as `check` does; awaits only where the sidecar has to be asked."""
        verdict = self._session.recall(token)
        if type(verdict) is Allowed and _grants(verdict.record, require):
            return verdict
        for _ in range(_ATTEMPTS):
            session = self._session
            verdict = session.recall(token)
            if verdict is None:
                if not tokens.shaped(token):
                    return _MALFORMED
                try:
                    response = await session.aask(self._request(session, token, require, audience))
                except UnreachableError:
                    verdict = ELSEWHERE
                else:
                    verdict = session.settle(token, response)
            if verdict is not None and verdict is not ELSEWHERE:
                return self._narrow(session, verdict, require, audience)
            if verdict is ELSEWHERE and not await asyncio.to_thread(self._renew, session):
                return _UNAVAILABLE
        return _UNAVAILABLE

    def _request(
        self, session: Session, token: str, require: Collection[str], audience: str | None
    ) -> Request:
        if session.table is not None:
            return session.look(token)
        return session.remote_check(token, tuple(require), self._meant_for(session, audience))

    def _meant_for(self, session: Session, audience: str | None) -> str:
        return audience or self._audience or session.service

    def _narrow(
        self,
        session: Session,
        verdict: Verdict,
        require: Collection[str],
        audience: str | None,
    ) -> Verdict:
        """Judge what this call asks for, against the record: never remembered (design 6.6)."""
        if isinstance(verdict, Denied):
            return verdict
        record = verdict.record
        if record.audience and self._meant_for(session, audience) not in record.audience:
            return _WRONG_AUDIENCE
        if require and not record.scopes.issuperset(require):
            return _INSUFFICIENT_SCOPE
        return verdict

    def _renew(self, session: Session) -> bool:
        """Meet whoever answers at the socket now, unless another thread just did."""
        with self._renewing:
            if session is not self._session:
                return True
            try:
                self._session = session.reopened()
            except UnreachableError:
                return False
        session.close()
        return True

    def close(self) -> None:
        """Hang up. Checks that are under way are denied as `unavailable`."""
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


def _grants(record: Record, require: Collection[str]) -> bool:
    """See the common case: a token for every service, with the scopes that are asked for."""
    return not record.audience and (not require or record.scopes.issuperset(require))


os.register_at_fork(after_in_child=Verifier._after_fork_in_child)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] nobody else's business
