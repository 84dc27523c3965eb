"""A verifier that holds its whole world in memory: it issues, revokes and checks."""

import itertools
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from rescind.core import handles, revocation, tokens, verdict
from rescind.core.record import Record
from rescind.core.revocation import Effect, Event, Hold, Revocation
from rescind.core.tokens import Kind
from rescind.core.verdict import Allowed, Denied, Reason, Verdict
from rescind.errors import MalformedTokenError

_EDGE_KEY = b"edge key of rescind.testing, 32 B"
_START_US = 1_800_000_000_000_000


@dataclass(frozen=True, slots=True)
class Issued:
    """A token of the fake, with the name to revoke it by."""

    token: str
    token_id: str


class FakeVerifier:
    """Stand in for a Verifier in a test: the verdicts follow the real rules, at once.

    Time stands still until `advance` is called. `leased = False` is a sidecar that lost its
    authority. Tokens are real in form; no authority knows them.
    """

    def __init__(self, *, audience: str = "test") -> None:
        self.leased = True
        self.closed = False
        self._audience = audience
        self._now_us = _START_US
        self._seq = 0
        self._numbers = itertools.count(1)
        self._records: dict[bytes, Record] = {}

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now_us += round(seconds * 1_000_000)

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
        parent: Issued | None = None,
    ) -> Issued:
        """Issue a token; with `parent`, one that dies with it."""
        number = next(self._numbers)
        token = tokens.mint(
            kind=Kind(kind),
            random=secrets.token_bytes(tokens.RANDOM_BYTES),
            edge_key=_EDGE_KEY,
        ).reveal()
        token_id = f"tok_{number:026d}"
        above = self._records[tokens.digest(parent.token)] if parent else None
        pairs = tuple(sorted((labels or {}).items()))
        self._records[tokens.digest(token)] = Record(
            token_hash=tokens.digest(token),
            epoch=1,
            as_of=self._seq,
            token_id=token_id,
            kind=Kind(kind),
            subject=subject,
            scopes=frozenset(scopes),
            audience=frozenset(audience),
            issued_at_us=self._now_us,
            issued_seq=self._seq,
            not_before_us=self._now_us + round(not_before_s * 1_000_000),
            expires_at_us=self._now_us + round(ttl_s * 1_000_000),
            handles=handles.of_token(
                token_id=token_id,
                kind=kind,
                subject=subject,
                tenant=tenant,
                client=None,
                session=None,
                labels=pairs,
                inherited=_handed_down(above),
            ),
            holds=above.holds if above else (),
            tenant=tenant,
            labels=pairs,
            lineage=(*above.lineage, above.token_id) if above else (),
            chain=(*above.chain, above.subject) if above else (),
        )
        return Issued(token, token_id)

    def revoke(self, *selector: str, exact: bool = False, effect: str = "revoke") -> None:
        """Revoke (or suspend) what matches. Raises SelectorError for a selector that is none."""
        self._seq += 1
        name = f"rev_{self._seq:026d}"
        event = Event(
            epoch=1,
            seq=self._seq,
            at_us=self._now_us,
            revocation=Revocation(
                revocation_id=name,
                selector=handles.select(selector, exact=exact),
                effect=Effect(effect),
                reason="",
                actor="test",
            ),
        )
        for token_hash, record in self._records.items():
            if revocation.hits(
                event,
                handles=record.handles,
                issued_seq=record.issued_seq,
                issued_at_us=record.issued_at_us,
            ):
                hold = Hold(name, effect, self._seq)
                self._records[token_hash] = replace(record, holds=(*record.holds, hold))

    def check(
        self, token: str, *, require: Collection[str] = (), audience: str | None = None
    ) -> Verdict:
        """Judge a token for one call, as a Verifier does."""
        if not self.leased:
            return Denied(Reason.NO_LEASE)
        try:
            tokens.parse(token)
        except MalformedTokenError:
            return Denied(Reason.MALFORMED)
        record = self._records.get(tokens.digest(token))
        if record is None:
            return Denied(Reason.UNKNOWN)
        return (
            verdict.standing(record)
            or verdict.timely(record, earliest_us=self._now_us, latest_us=self._now_us)
            or verdict.permitted(record, require=require, audience=audience or self._audience)
            or Allowed(replace(record, as_of=self._seq))
        )

    async def acheck(
        self, token: str, *, require: Collection[str] = (), audience: str | None = None
    ) -> Verdict:
        """Judge a token for one call, as a Verifier does."""
        return self.check(token, require=require, audience=audience)

    def close(self) -> None:
        """Remember that somebody let go."""
        self.closed = True


def _handed_down(parent: Record | None) -> tuple[handles.Handle, ...]:
    """Give what a child inherits: all but what names this one token and its own subject."""
    if parent is None:
        return ()
    own = {"token", "subject", "kind"}
    return tuple(each for each in parent.handles if handles.kind_of(each) not in own)
