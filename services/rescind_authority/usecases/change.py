"""Change a token: a new secret under the same grant, or an earlier end.

A change is an event (`changed`) in the commit of what it changes, so that every verifier drops the
record that it has, and a receipt can say when the last one did. What ends with it has a final hold
at the event's position. What is to end later has an event of its own then (`usecases/ends.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from rescind.core import ids, tokens
from rescind.core.handles import select
from rescind.core.record import Record
from rescind.core.revocation import Effect, Revocation
from rescind.core.secret import Secret
from rescind.core.tokens import Kind
from rescind.errors import RescindError
from rescind_authority.errors import HeldError, NotFoundError
from rescind_authority.ports.ledger import Change, Claim, Expiry, Rotation
from rescind_authority.ports.tokens import Records, Snapshot, TokenState
from rescind_authority.usecases import naming
from rescind_authority.usecases.authorise import Actor, Scope, actor_name, again
from rescind_authority.usecases.batching import each_of
from rescind_authority.usecases.ends import EndTimer
from rescind_authority.usecases.facts import MAX_TTL_S, Findings
from rescind_authority.usecases.grants import Power, require_held
from rescind_authority.usecases.mint import Mint
from rescind_authority.usecases.resolve import holding
from rescind_authority.usecases.sequence import Command, Committed, Sequencer, Warrant

_US_PER_S = 1_000_000
_MAX_ADMIN_OVERLAP_S = 3_600


@dataclass(frozen=True, slots=True)
class Renewal:
    """How somebody wants a token rotated.

    The old secret stays good for `overlap_s`. With `reuse_revokes`, whoever comes with it later
    ends the token and what was delegated from it: one of two holders is a thief.
    """

    token_id: str
    overlap_s: float
    reuse_revokes: bool
    reason: str
    awaited: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """How somebody wants a token ended early: at a time (Unix µs), or now."""

    token_id: str
    at_us: int | None
    reason: str
    awaited: bool = False


@dataclass(frozen=True, slots=True)
class Changed:
    """A change in the ledger. `secret` is the new one, and None in a repeat of the key."""

    committed: Committed
    token_id: str
    secret: Secret | None = None


class Changer:
    """Turn wishes to change a token into commands, and have them committed."""

    def __init__(
        self, sequencer: Sequencer, *, records: Records, mint: Mint, ends: EndTimer
    ) -> None:
        self._sequencer = sequencer
        self._records = records
        self._mint = mint
        self._ends = ends

    async def rotate(self, renewal: Renewal, *, actor: Actor, claim: Claim) -> Changed:
        """Give a token a new secret, which the actor then has: so it holds all that the token may.

        Raises NotFoundError, HeldError, InvalidRequestError, ForbiddenError, UnauthenticatedError,
        TokenMovedError, or the sequencer's.
        """
        _reason(renewal, Kind.AGENT)  # what is wrong in itself is said first
        state = await self._token(renewal.token_id)
        token = state.token
        power = Power(token.kind, token.scopes, token.audience)
        require_held(actor, power, "rotating")
        for event in holding(state):
            if event.revocation.effect != Effect.NARROW:
                raise HeldError(event.revocation)

        def judge(snapshot: Snapshot) -> None:
            require_held(again(actor, snapshot), power, "rotating")

        warrant = Warrant(actor.token_hash, judge)
        return await self._rotate(
            renewal, token.kind, None, actor=actor.name, claim=claim, warrant=warrant
        )

    async def rotate_own(self, renewal: Renewal, *, bearer: Record, claim: Claim) -> Changed:
        """Rotate the token that the caller presented, unless it was rotated meanwhile."""
        actor = actor_name(bearer.subject, bearer.token_id)
        return await self._rotate(renewal, bearer.kind, bearer.token_hash, actor=actor, claim=claim)

    async def expire(self, ending: Ending, *, actor: Actor, claim: Claim) -> Changed:
        """End a token early. Raises as `rotate` does."""
        findings = Findings()
        reason = findings.reason(ending.reason)
        findings.raise_if_any()
        actor.require(Scope.REVOKE, "expiring")
        state = await self._token(ending.token_id)
        if state.token.kind is Kind.ADMIN:
            actor.require(Scope.ADMIN, "expiring an admin token")
        change = Expiry(ending.token_id, ending.at_us)
        return await self._commit(
            change, reason or "expired", actor=actor.name, claim=claim, awaited=ending.awaited
        )

    async def expire_each(
        self, endings: Sequence[tuple[Ending, Claim]], *, actor: Actor
    ) -> Sequence[Changed | RescindError]:
        """End tokens; each has an outcome of its own, and one that fails takes none along."""
        return await each_of(
            [partial(self.expire, ending, actor=actor, claim=claim) for ending, claim in endings]
        )

    async def _rotate(
        self,
        renewal: Renewal,
        kind: Kind,
        presented: bytes | None,
        *,
        actor: str,
        claim: Claim,
        warrant: Warrant | None = None,
    ) -> Changed:
        reason = _reason(renewal, kind)
        secret = self._mint.secret(kind)
        change = Rotation(
            token_id=renewal.token_id,
            replaces=presented,
            token_hash=tokens.digest(secret.reveal()),
            overlap_us=round(renewal.overlap_s * _US_PER_S),
            reuse_revokes=renewal.reuse_revokes,
        )
        return await self._commit(
            change,
            reason or "rotated",
            actor=actor,
            claim=claim,
            awaited=renewal.awaited,
            secret=secret,
            warrant=warrant,
        )

    async def _commit(
        self,
        change: Change,
        reason: str,
        *,
        actor: str,
        claim: Claim,
        awaited: bool,
        secret: Secret | None = None,
        warrant: Warrant | None = None,
    ) -> Changed:
        revocation_id = naming.name("rev", self._mint.clock, self._mint.entropy)
        revocation = Revocation(
            revocation_id=revocation_id,
            # Exact: what was delegated from it stands on the grant, which is the same.
            selector=select([f"token:{change.token_id}"], exact=True),
            effect=Effect.CHANGED,
            reason=reason,
            actor=actor,
        )
        committed = await self._sequencer.commit(
            Command(claim, revocation, exact=True, awaited=awaited, change=change, warrant=warrant)
        )
        left_us = _left_us(change, committed)
        if left_us > 0:
            self._ends.expect(left_us / _US_PER_S)
        # A repeat of the key finds the first one's place in the ledger; its secret was shown then.
        ours = committed.revocation_id == revocation_id
        return Changed(committed, change.token_id, secret if ours else None)

    async def _token(self, token_id: str) -> TokenState:
        known = ids.is_id(token_id, "tok")
        found = (await self._records.by_id([token_id])).tokens if known else ()
        if not found:
            raise NotFoundError("token", token_id)
        return found[0]


def _left_us(change: Change, committed: Committed) -> int:
    """Return in how many microseconds of the ledger's time an event will end something; 0: none."""
    match change:
        case Rotation():
            return change.overlap_us
        case Expiry(_, int(at_us)):
            return max(0, at_us - committed.at_us)
        case _:
            return 0


def _reason(renewal: Renewal, kind: Kind) -> str:
    """Give the reason of a wish that is right in itself. Raises InvalidRequestError."""
    findings = Findings()
    reason = findings.reason(renewal.reason)
    if not 0 <= renewal.overlap_s <= MAX_TTL_S:
        findings.add("overlap", f"expected seconds, from 0 to {MAX_TTL_S} (366 days)")
    elif kind is Kind.ADMIN and renewal.overlap_s > _MAX_ADMIN_OVERLAP_S:
        findings.add(
            "overlap", f"expected at most {_MAX_ADMIN_OVERLAP_S} seconds for an admin token"
        )
    findings.raise_if_any()
    return reason
