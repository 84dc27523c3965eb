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
from rescind_authority.ports.ledger import CommittedEvent, IdempotencyClaim
from rescind_authority.ports.token_search import Tokens
from rescind_authority.usecases.access.authoriser import Actor, Scope, require_right_to_hit
from rescind_authority.usecases.ledger import new_ids
from rescind_authority.usecases.ledger.batcher import each_of
from rescind_authority.usecases.ledger.sequencer import RevocationCommand, Sequencer
from rescind_authority.usecases.lookups.resolver import Resolver
from rescind_authority.usecases.revocations.preview import Preview, Previewer, PreviewTarget
from rescind_authority.usecases.revocations.scheduled_lifts import LiftScheduler
from rescind_authority.usecases.validation import FieldErrors


class Verb(StrEnum):
    """The verb of a request. A `kill` is a revoke and a suspend of a chain, in one commit."""

    REVOKE = "revoke"
    SUSPEND = "suspend"
    NARROW = "narrow"
    KILL = "kill"


_FIRST_EFFECT = {
    Verb.REVOKE: Effect.REVOKE,
    Verb.SUSPEND: Effect.SUSPEND,
    Verb.NARROW: Effect.NARROW,
    Verb.KILL: Effect.REVOKE,
}


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


@dataclass(frozen=True, slots=True)
class CommittedRevocation:
    """A command's last event in the ledger.

    For a repeat of a key, all fields but `committed` are as requested. `killed` means that a revoke
    precedes the event under the same id.
    """

    committed: CommittedEvent
    revocation: Revocation
    exact: bool
    killed: bool = False


class Revoker:
    """Turn requests into commands, and commit these."""

    def __init__(
        self,
        sequencer: Sequencer,
        *,
        resolver: Resolver,
        table: Tokens,
        until: LiftScheduler,
        previewer: Previewer,
        clock: Clock,
        entropy: Entropy,
        prefix: str,
    ) -> None:
        self._sequencer = sequencer
        self._resolver = resolver
        self._table = table
        self._until = until
        self._previewer = previewer
        self._clock = clock
        self._entropy = entropy
        self._prefix = prefix

    async def preview(self, wish: RevokeCommand, *, actor: Actor) -> Preview:
        """Return the preview of a command, and change nothing.

        Raises as `revoke` does.
        """
        aim, _ = await self._aim(wish, actor)
        return await self._previewer.look(aim)

    async def revoke_each(
        self, wishes: Sequence[tuple[RevokeCommand, IdempotencyClaim]], *, actor: Actor
    ) -> Sequence[CommittedRevocation | RescindError]:
        """Commit several requests; the failure of one does not affect the others."""
        return await each_of(
            [partial(self.revoke, wish, actor=actor, claim=claim) for wish, claim in wishes]
        )

    async def revoke(
        self, wish: RevokeCommand, *, actor: Actor, claim: IdempotencyClaim
    ) -> CommittedRevocation:
        """Commit a request.

        Raises InvalidRequestError, ForbiddenError, PreviewNeededError, or the sequencer's errors.
        """
        aim, reason = await self._aim(wish, actor)
        await self._previewer.require(aim, wish.preview)
        revocation = Revocation(
            revocation_id=new_ids.name("rev", self._clock, self._entropy),
            selector=aim.selector,
            effect=_FIRST_EFFECT[wish.verb],
            reason=reason,
            actor=actor.name,
            issued_before_us=wish.issued_before_us,
            until_us=None if wish.verb is Verb.KILL else wish.until_us,
            scopes=aim.scopes,
        )
        then = None
        if wish.verb is Verb.KILL:
            # In this order: the revoke ends the tokens issued so far, and the suspend prevents new
            # ones.
            then = replace(revocation, effect=Effect.SUSPEND, until_us=wish.until_us)
        committed = await self._sequencer.commit(
            RevocationCommand(claim, revocation, exact=wish.exact, awaited=wish.awaited, then=then)
        )
        if wish.until_us is not None:
            self._until.look_again()
        return CommittedRevocation(
            committed, then or revocation, wish.exact, killed=then is not None
        )

    async def _aim(self, wish: RevokeCommand, actor: Actor) -> tuple[PreviewTarget, str]:
        """Validate all of a command, and return its target and reason."""
        scopes, reason = _checked(wish)
        selector = await self._selector(wish)
        actor.require(Scope.REVOKE, "revoking")
        await require_right_to_hit(selector, actor, self._table)
        return PreviewTarget(
            wish.verb, selector, wish.issued_before_us, wish.until_us, scopes
        ), reason

    async def _selector(self, wish: RevokeCommand) -> Selector:
        if (wish.token is None) == (not wish.selector):
            raise InvalidRequestError(
                FieldError("selector", 'expected either "selector": [handle, …] or "token"')
            )
        texts = wish.selector if wish.token is None else [await self._handle_of(wish.token)]
        try:
            selector = select(texts, exact=wish.exact)
        except SelectorError as error:
            raise InvalidRequestError(FieldError("selector", str(error))) from None
        if wish.verb is Verb.KILL and [kind_of(each) for each in selector.handles] != ["chain"]:
            raise InvalidRequestError(
                FieldError("selector", "a kill is of one subject: expected [chain:<subject>]")
            )
        return selector

    async def _handle_of(self, token: str) -> str:
        try:
            token_format.parse(token, prefix=self._prefix)
        except MalformedTokenError as error:
            raise InvalidRequestError(FieldError("token", str(error))) from None
        record, _ = await self._resolver.look(token_format.digest(token))
        if record is None:
            raise InvalidRequestError(FieldError("token", "no such token was issued here"))
        return f"token:{record.token_id}"


def _checked(wish: RevokeCommand) -> tuple[tuple[str, ...], str]:
    """Validate the fields of a command, and return its scopes and reason.

    Raises InvalidRequestError, also for fields that the verb does not accept.
    """
    findings = FieldErrors()
    reason = findings.reason(wish.reason)
    scopes = findings.scopes(wish.scopes)
    if wish.verb is Verb.NARROW and not scopes:
        findings.add("scopes", "expected what is taken away, such as [tools:call:github/*]")
    if wish.verb is not Verb.NARROW and scopes:
        findings.add("scopes", f"a {wish.verb} takes everything: only a narrow names scopes")
    if wish.verb is Verb.REVOKE and wish.until_us is not None:
        findings.add("until", "a revoke is final: suspend what is to come back")
    if wish.verb is Verb.KILL and wish.issued_before_us is not None:
        findings.add("issued_before", "a kill spares nothing: revoke what is older, or suspend")
    findings.raise_if_any()
    return scopes, reason
