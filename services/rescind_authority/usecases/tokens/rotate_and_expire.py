"""Change a token: a new secret under the same grant, or an earlier end.

A change commits an event (`changed`) together with the change itself, so that every verifier drops
its record of the token, and a receipt can state when the last one did. A token or a secret that
ends with the change is denied for ever, from the event's position on. Tokens that were delegated
from an ended token end with it. A later end gets an event of its own at its time
(`tokens/end_timer.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from rescind.core import public_ids, token_format
from rescind.core.delegation import DelegationLimits
from rescind.core.handles import select
from rescind.core.revocation import Effect, Revocation
from rescind.core.secret import Secret
from rescind.core.token_format import Kind
from rescind.errors import RescindError
from rescind_authority.errors import NotFoundError, SelfServiceError, StandingRevocationError
from rescind_authority.ports.ledger import (
    Change,
    CommittedEvent,
    Expiry,
    IdempotentRequest,
    Rotation,
)
from rescind_authority.ports.tokens import Snapshot, TokenRecords, TokenState
from rescind_authority.usecases.access.authoriser import Actor, Holder, Scope, actor_name, refreshed
from rescind_authority.usecases.access.held_scopes import GrantedPermissions, require_held
from rescind_authority.usecases.ledger import new_ids
from rescind_authority.usecases.ledger.batcher import run_concurrently
from rescind_authority.usecases.ledger.sequencer import ActorCheck, LedgerCommand, Sequencer
from rescind_authority.usecases.lookups.resolver import restricting_events
from rescind_authority.usecases.tokens.end_timer import EndTimer
from rescind_authority.usecases.tokens.new_token import TokenGenerator
from rescind_authority.usecases.validation import MAX_TTL_S, FieldErrors

_US_PER_S = 1_000_000
_MAX_ADMIN_OVERLAP_S = 3_600


@dataclass(frozen=True, slots=True)
class RotateCommand:
    """A request to rotate a token.

    The old secret stays valid for `overlap_s` seconds. With `reuse_revokes`, a later use of it ends
    the token and the tokens delegated from it, because one of two holders is then a thief. A
    `reuse_revokes` of None keeps the policy with which the token was issued.
    """

    token_id: str
    overlap_s: float
    reuse_revokes: bool | None
    reason: str
    awaited: bool = False


@dataclass(frozen=True, slots=True)
class ExpireCommand:
    """A request to end a token early.

    `at_us` is the end in Unix µs; None means now.
    """

    token_id: str
    at_us: int | None
    reason: str
    awaited: bool = False


@dataclass(frozen=True, slots=True)
class CommittedChange:
    """A committed change. `secret` is the new one, and None for a repeat of the key."""

    committed: CommittedEvent
    token_id: str
    secret: Secret | None = None


class TokenChanger:
    """Turn requests to change a token into commands, and commit these."""

    def __init__(
        self, sequencer: Sequencer, *, records: TokenRecords, mint: TokenGenerator, ends: EndTimer
    ) -> None:
        self._sequencer = sequencer
        self._records = records
        self._mint = mint
        self._ends = ends

    async def rotate(
        self, command: RotateCommand, *, actor: Actor, idempotency: IdempotentRequest
    ) -> CommittedChange:
        """Replace a token's secret with a new one, for the actor.

        The actor then has the new secret, so it must hold the token's permissions over
        rescind itself.

        Raises NotFoundError, StandingRevocationError, InvalidRequestError, ForbiddenError,
        UnauthenticatedError, TokenMovedError, or the sequencer's errors.
        """
        _validate_reason(command, Kind.AGENT)  # invalid fields are reported first
        state = await self._read_token(command.token_id)
        token = state.token
        permissions = GrantedPermissions(token.grant.kind, token.grant.scopes, token.grant.audience)
        require_held(actor, permissions, "rotating")
        for event in restricting_events(state):
            if event.revocation.effect != Effect.NARROW:
                raise StandingRevocationError(event.revocation)

        def require(snapshot: Snapshot) -> None:
            require_held(refreshed(actor, snapshot), permissions, "rotating")

        actor_check = ActorCheck(actor.token_hash, require)
        return await self._rotate(
            _with_issued_policy(command, token.grant.limits),
            token.grant.kind,
            None,
            actor=actor.name,
            idempotency=idempotency,
            actor_check=actor_check,
        )

    async def rotate_own(
        self, command: RotateCommand, *, bearer: Holder, idempotency: IdempotentRequest
    ) -> CommittedChange:
        """Rotate the token that the caller presented, unless it was rotated meanwhile.

        Raises SelfServiceError for options that the issuer did not leave to the holder. Otherwise a
        thief who rotates could keep the other secret valid, and prevent the detection of its use.
        """
        record, limits = bearer.record, bearer.limits
        _validate_reason(command, record.kind)
        if command.overlap_s * _US_PER_S > limits.max_overlap_us:
            most_s = limits.max_overlap_us / _US_PER_S
            raise SelfServiceError(f"overlap: its holder may ask for at most {most_s:g} seconds.")
        if command.reuse_revokes is False and not limits.reuse_denies:
            raise SelfServiceError("on_reuse: this token's holder cannot choose `deny`.")
        return await self._rotate(
            _with_issued_policy(command, limits),
            record.kind,
            record.token_hash,
            actor=actor_name(record.subject, record.token_id),
            idempotency=idempotency,
        )

    async def expire(
        self, command: ExpireCommand, *, actor: Actor, idempotency: IdempotentRequest
    ) -> CommittedChange:
        """End a token early. Raises as `rotate` does."""
        field_errors = FieldErrors()
        reason = field_errors.reason(command.reason)
        field_errors.raise_if_any()
        actor.require(Scope.REVOKE, "expiring")
        state = await self._read_token(command.token_id)
        if state.token.grant.kind is Kind.ADMIN:
            actor.require(Scope.ADMIN, "expiring an admin token")
        change = Expiry(command.token_id, command.at_us)
        return await self._commit(
            change,
            reason or "expired",
            actor=actor.name,
            idempotency=idempotency,
            awaited=command.awaited,
        )

    async def expire_each(
        self, commands: Sequence[tuple[ExpireCommand, IdempotentRequest]], *, actor: Actor
    ) -> Sequence[CommittedChange | RescindError]:
        """End several tokens; the failure of one does not affect the others."""
        return await run_concurrently(
            [
                partial(self.expire, command, actor=actor, idempotency=idempotency)
                for command, idempotency in commands
            ]
        )

    async def _rotate(
        self,
        command: RotateCommand,
        kind: Kind,
        presented: bytes | None,
        *,
        actor: str,
        idempotency: IdempotentRequest,
        actor_check: ActorCheck | None = None,
    ) -> CommittedChange:
        reason = _validate_reason(command, kind)
        secret = self._mint.secret(kind)
        change = Rotation(
            token_id=command.token_id,
            replaces=presented,
            token_hash=token_format.digest(secret.reveal()),
            overlap_us=round(command.overlap_s * _US_PER_S),
            reuse_revokes=command.reuse_revokes is not False,
            possession_hash=token_format.possession_hash(secret.reveal()),
        )
        return await self._commit(
            change,
            reason or "rotated",
            actor=actor,
            idempotency=idempotency,
            awaited=command.awaited,
            secret=secret,
            actor_check=actor_check,
        )

    async def _commit(
        self,
        change: Change,
        reason: str,
        *,
        actor: str,
        idempotency: IdempotentRequest,
        awaited: bool,
        secret: Secret | None = None,
        actor_check: ActorCheck | None = None,
    ) -> CommittedChange:
        revocation_id = new_ids.generate("rev", self._mint.clock, self._mint.entropy)
        # Delegated tokens depend on the grant, which a rotation keeps and an end ends.
        exact = not isinstance(change, Expiry)
        revocation = Revocation(
            revocation_id=revocation_id,
            selector=select([f"token:{change.token_id}"], exact=exact),
            effect=Effect.CHANGED,
            reason=reason,
            actor=actor,
        )
        committed = await self._sequencer.commit(
            LedgerCommand(
                idempotency,
                revocation,
                exact=exact,
                awaited=awaited,
                change=change,
                actor_check=actor_check,
            )
        )
        left_us = _time_to_end_us(change, committed)
        if left_us > 0:
            self._ends.expect(left_us / _US_PER_S)
        # A repeat of the key returns the first commit, whose secret was returned then.
        ours = committed.revocation_id == revocation_id
        return CommittedChange(committed, change.token_id, secret if ours else None)

    async def _read_token(self, token_id: str) -> TokenState:
        known = public_ids.is_id(token_id, "tok")
        found = (await self._records.by_id([token_id])).tokens if known else ()
        if not found:
            raise NotFoundError("token", token_id)
        return found[0]


def _with_issued_policy(command: RotateCommand, limits: DelegationLimits) -> RotateCommand:
    """Return a request with the token's own reuse policy, if it sets none."""
    if command.reuse_revokes is not None:
        return command
    return replace(command, reuse_revokes=not limits.reuse_denies)


def _time_to_end_us(change: Change, committed: CommittedEvent) -> int:
    """Return the microseconds of the ledger's time until a later end by an event; 0: none."""
    match change:
        case Rotation():
            return change.overlap_us
        case Expiry(_, int(at_us)):
            return max(0, at_us - committed.at_us)
        case _:
            return 0


def _validate_reason(command: RotateCommand, kind: Kind) -> str:
    """Validate the fields of a rotation, and return its reason. Raises InvalidRequestError."""
    field_errors = FieldErrors()
    reason = field_errors.reason(command.reason)
    if not 0 <= command.overlap_s <= MAX_TTL_S:
        field_errors.add("overlap", f"expected seconds, from 0 to {MAX_TTL_S} (366 days)")
    elif kind is Kind.ADMIN and command.overlap_s > _MAX_ADMIN_OVERLAP_S:
        field_errors.add(
            "overlap", f"expected at most {_MAX_ADMIN_OVERLAP_S} seconds for an admin token"
        )
    field_errors.raise_if_any()
    return reason
