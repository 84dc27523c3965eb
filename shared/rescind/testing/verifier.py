"""A verifier for tests that issues, revokes and checks tokens in memory."""

import itertools
import secrets
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from rescind.client.holds.hold import Hold
from rescind.client.lease_end import Freshness
from rescind.core import handles, revocation, token_format, verdict
from rescind.core.conditions import UNCONDITIONAL, Conditions, network
from rescind.core.record import Record
from rescind.core.revocation import Effect, Event, Restriction, Revocation
from rescind.core.scopes import parse
from rescind.core.token_format import Kind, TokenHash
from rescind.core.verdict import Allowed, CheckRequest, Denied, Reason, Verdict
from rescind.errors import MalformedTokenError
from rescind.testing.holds import FakeHoldSupervisor

_EDGE_KEY = b"edge key of rescind.testing, 32 B"
_LEASE_MS = 9_000
_START_US = 1_800_000_000_000_000


@dataclass(frozen=True, slots=True)
class Issued:
    """A token of the fake, and its id, by which it can be revoked."""

    token: str
    token_id: str

    @property
    def headers(self) -> dict[str, str]:
        """Return the HTTP header that carries the token, for an HTTP client."""
        return {"Authorization": f"Bearer {self.token}"}


class FakeVerifier:
    """A substitute for a Verifier in tests; its verdicts follow the real rules, at once.

    Time advances only when `advance` is called. The tokens have the real form, but are unknown to
    any authority. The fake is accepted wherever a Verifier is:

    >>> verifier = FakeVerifier(audience="search")
    >>> agent = verifier.issue(subject="agent:billing-bot", scopes={"search:read"})
    >>> verifier.check(agent.token, require={"search:read"}).record.subject
    'agent:billing-bot'
    >>> verifier.check(agent.token, require={"search:write"})
    Denied(reason=<Reason.INSUFFICIENT_SCOPE: 'insufficient_scope'>)

    A suspension or a revocation of a token applies to its children, and a suspension can be lifted:

    >>> helper = verifier.issue(subject="agent:billing-bot/helper", parent=agent)
    >>> suspension = verifier.suspend("subject:agent:billing-bot")
    >>> verifier.check(helper.token)
    Denied(reason=<Reason.SUSPENDED: 'suspended'>)
    >>> verifier.lift(suspension)
    >>> revocation = verifier.revoke(f"token:{agent.token_id}")
    >>> verifier.check(helper.token)
    Denied(reason=<Reason.REVOKED: 'revoked'>)

    Scopes can be removed; `scopes` are the remaining ones:

    >>> writer = verifier.issue(scopes={"files:read", "files:write"})
    >>> narrowing = verifier.narrow(f"token:{writer.token_id}", remove={"files:write"})
    >>> verifier.check(writer.token).record.scopes
    frozenset({'files:read'})
    >>> verifier.check(writer.token, require={"files:write"})
    Denied(reason=<Reason.INSUFFICIENT_SCOPE: 'insufficient_scope'>)

    Work under a token is ended when the token is hit:

    >>> job = verifier.issue(subject="service:job")
    >>> with verifier.hold(job.token) as held:
    ...     revocation = verifier.revoke("subject:service:job")
    ...     held.revoked.is_set(), held.reason
    (True, <Reason.REVOKED: 'revoked'>)

    A sidecar that lost its authority denies every token, and is not ready for a readiness probe:

    >>> with verifier.without_lease():
    ...     verifier.ready(), verifier.check(agent.token)
    (False, Denied(reason=<Reason.NO_LEASE: 'no_lease'>))

    With the middleware, and with the dependency of FastAPI:

        app = RescindMiddleware(app, verifier, require={"search:read"})
        app.state.rescind = verifier
        client.get("/search", headers=agent.headers)
    """

    def __init__(self, *, audience: str = "test", labels: Mapping[str, str] | None = None) -> None:
        self.closed = False
        self.service = audience
        self.labels = frozenset((labels or {}).items())
        self._leased = True
        self._supervisor = FakeHoldSupervisor(self.check_request)
        self._now_us = _START_US
        self._seq = 0
        self._numbers = itertools.count(1)
        self._records: dict[bytes, Record] = {}
        self._lasting: dict[str, Event] = {}

    @property
    def leased(self) -> bool:
        """Return True if the simulated sidecar holds a lease. Set False to simulate a loss."""
        return self._leased

    @leased.setter
    def leased(self, leased: bool) -> None:
        self._leased = leased
        self._supervisor.check_all()

    def advance(self, seconds: float) -> None:
        """Advance the fake's clock by a number of seconds."""
        self._now_us += round(seconds * 1_000_000)
        self._supervisor.check_all()

    def issue(
        self,
        *,
        subject: str = "agent:test",
        kind: str = "agent",
        scopes: Collection[str] = (),
        audience: Collection[str] = (),
        ttl_s: float = 3600,
        not_before_s: float = 0,
        labels: Mapping[str, str] | None = None,
        tenant: str | None = None,
        addresses: Collection[str] = (),
        verifier: Mapping[str, str] | None = None,
        parent: Issued | None = None,
    ) -> Issued:
        """Issue a token; with `parent`, a child that is denied together with its parent."""
        token, token_id = _mint(Kind(kind)), f"tok_{next(self._numbers):026d}"
        above = self._records[token_format.digest(parent.token)] if parent else None
        record = Record(
            token_hash=token_format.digest(token),
            epoch=1,
            as_of=self._seq,
            token_id=token_id,
            kind=Kind(kind),
            subject=subject,
            granted=frozenset(scopes),
            audience=frozenset(audience),
            issued_at_us=self._now_us,
            issued_seq=self._seq,
            not_before_us=self._now_us + round(not_before_s * 1_000_000),
            expires_at_us=self._now_us + round(ttl_s * 1_000_000),
            handles=(),
            tenant=tenant,
            labels=_sort_pairs(labels),
            conditions=_build_conditions(addresses, verifier),
        )
        record = _add_ancestry(record, above)
        restrictions = (
            *(above.restrictions if above else ()),
            *self._find_lasting_restrictions(record),
        )
        self._records[record.token_hash] = self._apply_restrictions(
            record, tuple(dict.fromkeys(restrictions))
        )
        return Issued(token, token_id)

    def _find_lasting_restrictions(self, record: Record) -> Iterator[Restriction]:
        """Iterate over the revocations that also hit tokens that are issued later."""
        for name, event in self._lasting.items():
            if _is_hit(event, record):
                yield Restriction(name, event.revocation.effect, event.seq)

    def revoke(self, *selector: str, exact: bool = False) -> str:
        """Revoke all matching tokens for good; return the revocation's id. Raises SelectorError."""
        return self._apply_effect(selector, exact=exact, effect=Effect.REVOKE)

    def suspend(self, *selector: str, exact: bool = False) -> str:
        """Suspend all matching tokens until `lift` receives the id that this returns.

        Raises SelectorError.
        """
        return self._apply_effect(selector, exact=exact, effect=Effect.SUSPEND)

    def narrow(self, *selector: str, remove: Collection[str], exact: bool = False) -> str:
        """Remove scopes from all matching tokens until `lift` receives the id that this returns.

        `remove` are scopes or patterns. Raises SelectorError and ScopeError.
        """
        removed = tuple(sorted(map(parse, remove)))
        return self._apply_effect(selector, exact=exact, effect=Effect.NARROW, removed=removed)

    def lift(self, revocation_id: str) -> None:
        """End a suspension or a narrow. Raises ValueError for a revocation, which is final."""
        self._seq += 1
        self._lasting.pop(revocation_id, None)
        for token_hash, record in self._records.items():
            restrictions = tuple(
                each for each in record.restrictions if each.revocation_id != revocation_id
            )
            lifted = set(record.restrictions).difference(restrictions)
            if any(each.effect == Effect.REVOKE for each in lifted):
                raise ValueError("a revocation is final; a suspension or a narrow can be lifted")
            self._records[token_hash] = self._apply_restrictions(record, restrictions)

    def _apply_restrictions(self, record: Record, restrictions: tuple[Restriction, ...]) -> Record:
        """Return the record with these revocations, without the scopes that narrowings remove."""
        narrows = (each.revocation_id for each in restrictions if each.effect == Effect.NARROW)
        removed = {scope for name in narrows for scope in self._lasting[name].revocation.scopes}
        return replace(record, restrictions=restrictions, removed=tuple(sorted(removed)))

    def _apply_effect(
        self,
        selector: Sequence[str],
        *,
        exact: bool,
        effect: Effect,
        removed: tuple[str, ...] = (),
    ) -> str:
        self._seq += 1
        name = f"rev_{self._seq:026d}"
        event = Event(
            epoch=1,
            seq=self._seq,
            at_us=self._now_us,
            revocation=Revocation(
                revocation_id=name,
                selector=handles.select(selector, exact=exact),
                effect=effect,
                scopes=removed,
                reason="",
                actor="test",
            ),
        )
        if effect is not Effect.REVOKE:
            self._lasting[name] = event
        for token_hash, record in self._records.items():
            if _is_hit(event, record):
                restriction = Restriction(name, effect, self._seq)
                self._records[token_hash] = self._apply_restrictions(
                    record, (*record.restrictions, restriction)
                )
        self._supervisor.check_all()
        return name

    @contextmanager
    def without_lease(self) -> Generator[None]:
        """Simulate, within the block, a sidecar that lost its authority."""
        self.leased = False
        try:
            yield
        finally:
            self.leased = True

    def ready(self) -> bool:
        """Return True if a check can be answered now, as a Verifier does."""
        return self.leased

    @property
    def as_of(self) -> int:
        """Return the position of the fake's own ledger."""
        return self._seq

    def freshness(self) -> Freshness:
        """Return how fresh an answer is, as a Verifier does."""
        return Freshness(self._seq, _LEASE_MS if self.leased else 0)

    def check(
        self,
        token: str,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        address: str | None = None,
        min_seq: int = 0,
    ) -> Verdict:
        """Check a token for one call, as a Verifier does."""
        return self.check_request(CheckRequest(token, require, audience, address, min_seq))

    def check_request(self, request: CheckRequest) -> Verdict:
        """Check a token, with the arguments as one value, as a Verifier does."""
        if not self.leased:
            return Denied(Reason.NO_LEASE)
        if request.min_seq > self._seq:
            return Denied(Reason.UNAVAILABLE)
        if isinstance(request.token, str):
            try:
                token_format.parse(request.token)
            except MalformedTokenError:
                return Denied(Reason.MALFORMED)
        record = self._records.get(token_format.digest(request.token))
        if record is None:
            return Denied(Reason.UNKNOWN)
        return (
            verdict.judge_state(record)
            or verdict.timely(record, earliest_us=self._now_us, latest_us=self._now_us)
            or verdict.permitted(
                record,
                require=request.require,
                audience=request.audience or self.service,
                address=request.address,
                labels=self.labels,
            )
            or Allowed(replace(record, as_of=self._seq))
        )

    async def acheck_request(self, request: CheckRequest) -> Verdict:
        """Check a token, with the arguments as one value, as a Verifier does."""
        return self.check_request(request)

    def recall(
        self,
        token: str,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        address: str | None = None,
        min_seq: int = 0,
    ) -> Verdict | None:
        """Check a token from memory, as a Verifier does; the fake remembers everything."""
        return self.recall_request(CheckRequest(token, require, audience, address, min_seq))

    def recall_request(self, request: CheckRequest) -> Verdict | None:
        """Check a token from memory, with the arguments as one value, as a Verifier does."""
        return self.check_request(request)

    async def acheck(
        self,
        token: str,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        address: str | None = None,
        min_seq: int = 0,
    ) -> Verdict:
        """Check a token for one call, as a Verifier does."""
        return self.check_request(CheckRequest(token, require, audience, address, min_seq))

    def hold(
        self,
        token: str,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        address: str | None = None,
    ) -> Hold:
        """Return a hold for work that outlasts a check, as a Verifier does."""
        return Hold(self._supervisor, CheckRequest(token, frozenset(require), audience, address))

    def hold_by_hash(
        self, token_hash: bytes, *, require: Collection[str] = (), audience: str | None = None
    ) -> Hold:
        """Return a hold for work whose token is known by its hash alone, as a Verifier does."""
        request = CheckRequest(TokenHash(token_hash), frozenset(require), audience)
        return Hold(self._supervisor, request)

    def close(self) -> None:
        """Mark the fake as closed."""
        self.closed = True


def _is_hit(event: Event, record: Record) -> bool:
    return revocation.hits(
        event,
        handles=record.handles,
        issued_seq=record.issued_seq,
        issued_at_us=record.issued_at_us,
    )


def _mint(kind: Kind) -> str:
    random = secrets.token_bytes(token_format.RANDOM_BYTES)
    return token_format.mint(kind=kind, random=random, edge_key=_EDGE_KEY).reveal()


def _sort_pairs(mapping: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((mapping or {}).items()))


def _add_ancestry(record: Record, parent: Record | None) -> Record:
    """Return a record with its handles, and with the lineage and handles from its parent."""
    own_handles = handles.of_token(
        token_id=record.token_id,
        kind=record.kind,
        subject=record.subject,
        tenant=record.tenant,
        client=None,
        session=None,
        labels=record.labels,
        inherited=_select_inherited(parent),
    )
    if parent is None:
        return replace(record, handles=own_handles)
    lineage, chain = (*parent.lineage, parent.token_id), (*parent.chain, parent.subject)
    return replace(record, handles=own_handles, lineage=lineage, chain=chain)


def _build_conditions(addresses: Collection[str], verifier: Mapping[str, str] | None) -> Conditions:
    if not (addresses or verifier):
        return UNCONDITIONAL
    networks = tuple(sorted(network(each) for each in addresses))
    return Conditions(networks, _sort_pairs(verifier))


def _select_inherited(parent: Record | None) -> tuple[handles.Handle, ...]:
    """Return the handles that a child inherits: all but its parent's token id and subject."""
    if parent is None:
        return ()
    own = {"token", "subject", "kind"}
    return tuple(each for each in parent.handles if handles.kind_of(each) not in own)
