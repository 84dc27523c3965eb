"""Revoke: validate the request of a caller, and commit it as an event of the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

from rescind.core import token_format
from rescind.core.handles import Selector, kind_of, select
from rescind.core.revocation import Effect, Revocation
from rescind.errors import MalformedTokenError, RescindError, SelectorError
from rescind_authority.errors import FieldError, InvalidRequestError
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.keys import Entropy
from rescind_authority.ports.ledger import IdempotentRequest
from rescind_authority.ports.revocations import StoredRevocation
from rescind_authority.ports.token_search import Tokens
from rescind_authority.usecases.access.authoriser import Actor, Scope, require_right_to_hit
from rescind_authority.usecases.ledger import new_ids
from rescind_authority.usecases.ledger.batcher import run_concurrently
from rescind_authority.usecases.ledger.sequencer import LedgerCommand, Sequencer
from rescind_authority.usecases.lookups.resolver import Resolver
from rescind_authority.usecases.revocations.preview import Preview, Previewer
from rescind_authority.usecases.revocations.scheduled_lifts import LiftScheduler
from rescind_authority.usecases.validation import FieldErrors


class Verb(StrEnum):
    """The verb of a request. A `kill` revokes and suspends a chain, in one commit."""

    REVOKE = "revoke"
    SUSPEND = "suspend"
    NARROW = "narrow"
    KILL = "kill"


_EFFECTS = {
    Verb.REVOKE: Effect.REVOKE,
    Verb.SUSPEND: Effect.SUSPEND,
    Verb.NARROW: Effect.NARROW,
    Verb.KILL: Effect.SUSPEND,
}
"""The effect of the last event of each verb: the revoke of a kill comes before it."""


@dataclass(frozen=True, slots=True)
class RevokeCommand:
    """A request to revoke, suspend, narrow or kill.

    A selector or a token names the tokens to hit. Times are Unix µs.
    """

    verb: Verb
    selector: Sequence[str]
    token: str | None
    exact: bool
    issued_before_us: int | None
    until_us: int | None
    scopes: Sequence[str]
    reason: str
    awaited: bool = False
    preview: str | None = None


class Revoker:
    """Turn requests into commands, and commit these."""

    def __init__(
        self,
        sequencer: Sequencer,
        *,
        resolver: Resolver,
        tokens: Tokens,
        lift_scheduler: LiftScheduler,
        previewer: Previewer,
        clock: Clock,
        entropy: Entropy,
        prefix: str,
    ) -> None:
        self._sequencer = sequencer
        self._resolver = resolver
        self._tokens = tokens
        self._lift_scheduler = lift_scheduler
        self._previewer = previewer
        self._clock = clock
        self._entropy = entropy
        self._prefix = prefix

    async def preview(self, command: RevokeCommand, *, actor: Actor) -> Preview:
        """Return the preview of a command, and change nothing.

        Raises as `revoke` does.
        """
        return await self._previewer.preview(await self._validate(command, actor))

    async def revoke_each(
        self, commands: Sequence[tuple[RevokeCommand, IdempotentRequest]], *, actor: Actor
    ) -> Sequence[StoredRevocation | RescindError]:
        """Commit several commands; the failure of one does not affect the others."""
        return await run_concurrently(
            [
                partial(self.revoke, command, actor=actor, idempotency=idempotency)
                for command, idempotency in commands
            ]
        )

    async def revoke(
        self, command: RevokeCommand, *, actor: Actor, idempotency: IdempotentRequest
    ) -> StoredRevocation:
        """Commit a command.

        Raises InvalidRequestError, ForbiddenError, PreviewNeededError, or the sequencer's errors.
        """
        revocation = await self._validate(command, actor)
        await self._previewer.require(revocation, command.preview)
        killed = command.verb is Verb.KILL
        # A kill in this order: the revoke denies the tokens issued so far, and the suspension
        # denies those issued later.
        first = replace(revocation, effect=Effect.REVOKE, until_us=None) if killed else revocation
        committed = await self._sequencer.commit(
            LedgerCommand(
                idempotency,
                first,
                exact=command.exact,
                awaited=command.awaited,
                then=revocation if killed else None,
            )
        )
        if command.until_us is not None:
            self._lift_scheduler.wake()
        return StoredRevocation(
            committed.event(revocation), command.exact, killed=killed, fresh=committed.fresh
        )

    async def _validate(self, command: RevokeCommand, actor: Actor) -> Revocation:
        """Validate all of a command, and return its revocation; of a kill, the suspension."""
        scopes, reason = _validate_fields(command)
        selector = await self._select(command)
        actor.require(Scope.REVOKE, "revoking")
        await require_right_to_hit(selector, actor, self._tokens)
        return Revocation(
            revocation_id=new_ids.generate("rev", self._clock, self._entropy),
            selector=selector,
            effect=_EFFECTS[command.verb],
            reason=reason,
            actor=actor.name,
            issued_before_us=command.issued_before_us,
            until_us=command.until_us,
            scopes=scopes,
        )

    async def _select(self, command: RevokeCommand) -> Selector:
        if (command.token is None) == (not command.selector):
            raise InvalidRequestError(
                FieldError("selector", 'expected either "selector": [handle, …] or "token"')
            )
        texts = (
            command.selector if command.token is None else [await self._find_handle(command.token)]
        )
        try:
            selector = select(texts, exact=command.exact)
        except SelectorError as error:
            raise InvalidRequestError(FieldError("selector", str(error))) from None
        if command.verb is Verb.KILL and [kind_of(each) for each in selector.handles] != ["chain"]:
            raise InvalidRequestError(
                FieldError(
                    "selector", "a kill hits the chain of one subject: expected [chain:<subject>]"
                )
            )
        return selector

    async def _find_handle(self, token: str) -> str:
        try:
            token_format.parse(token, prefix=self._prefix)
        except MalformedTokenError as error:
            raise InvalidRequestError(FieldError("token", str(error))) from None
        found = await self._resolver.read(token_format.digest(token))
        if found.record is None:
            raise InvalidRequestError(FieldError("token", "no such token was issued here"))
        return f"token:{found.record.token_id}"


def _validate_fields(command: RevokeCommand) -> tuple[tuple[str, ...], str]:
    """Validate the fields of a command, and return its scopes and reason.

    Raises InvalidRequestError, also for fields that the verb does not accept.
    """
    field_errors = FieldErrors()
    reason = field_errors.reason(command.reason)
    scopes = field_errors.scopes(command.scopes)
    if command.verb is Verb.NARROW and not scopes:
        field_errors.add("scopes", "expected the scopes to remove, such as [tools:call:github/*]")
    if command.verb is not Verb.NARROW and scopes:
        field_errors.add(
            "scopes", f"not accepted with {command.verb}, which denies the whole token: use narrow"
        )
    if command.verb is Verb.REVOKE and command.until_us is not None:
        field_errors.add("until", "a revoke is final: use suspend to deny tokens for a time")
    if command.verb is Verb.KILL and command.issued_before_us is not None:
        field_errors.add(
            "issued_before",
            "not accepted with kill, which hits every token of the chain: use revoke or suspend",
        )
    field_errors.raise_if_any()
    return scopes, reason
