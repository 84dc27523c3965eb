"""Take power away: from what a person wrote to a place in the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

from rescind.core import tokens
from rescind.core.handles import Selector, kind_of, select
from rescind.core.revocation import Effect, Revocation
from rescind.errors import MalformedTokenError, RescindError, SelectorError
from rescind_authority.errors import FieldProblem, InvalidRequestError
from rescind_authority.ports.keys import Entropy
from rescind_authority.ports.ledger import Claim
from rescind_authority.ports.lists import Tokens
from rescind_authority.usecases import naming
from rescind_authority.usecases.authorise import Actor, Scope, require_reach
from rescind_authority.usecases.batching import each_of
from rescind_authority.usecases.facts import Findings
from rescind_authority.usecases.radius import Aim, Preview, Previews
from rescind_authority.usecases.resolve import Resolver
from rescind_authority.usecases.sequence import Command, Committed, Sequencer
from rescind_authority.usecases.until import UntilKeeper
from rescind_runtime.clock import Clock


class Verb(StrEnum):
    """What one may ask for. A `kill` is a revoke and a suspension of a chain, in one commit."""

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
class Wish:
    """What somebody wants done to whom: by selector or by a token. Times are Unix µs."""

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
class Done:
    """A command's last event in the ledger. For a repeat of a key, all but the place is as asked.

    `killed` says that a revoke came before it under the same id.
    """

    committed: Committed
    revocation: Revocation
    exact: bool
    killed: bool = False


class Revoker:
    """Turn wishes into commands, and have them committed."""

    def __init__(
        self,
        sequencer: Sequencer,
        *,
        resolver: Resolver,
        table: Tokens,
        until: UntilKeeper,
        previews: Previews,
        clock: Clock,
        entropy: Entropy,
        prefix: str,
    ) -> None:
        self._sequencer = sequencer
        self._resolver = resolver
        self._table = table
        self._until = until
        self._previews = previews
        self._clock = clock
        self._entropy = entropy
        self._prefix = prefix

    async def preview(self, wish: Wish, *, actor: Actor) -> Preview:
        """Say what a wish would hit, and change nothing. Raises as `revoke` does."""
        aim, _ = await self._aim(wish, actor)
        return await self._previews.look(aim)

    async def revoke_each(
        self, wishes: Sequence[tuple[Wish, Claim]], *, actor: Actor
    ) -> Sequence[Done | RescindError]:
        """Commit wishes; each has an outcome of its own, and one that fails takes none along."""
        return await each_of(
            [partial(self.revoke, wish, actor=actor, claim=claim) for wish, claim in wishes]
        )

    async def revoke(self, wish: Wish, *, actor: Actor, claim: Claim) -> Done:
        """Commit a wish. Raises InvalidRequestError, ForbiddenError, PreviewNeededError, or the
        sequencer's.
        """
        aim, reason = await self._aim(wish, actor)
        await self._previews.require(aim, wish.preview)
        revocation = Revocation(
            revocation_id=naming.name("rev", self._clock, self._entropy),
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
            # In this order: what was issued until now dies, and from now on nothing is issued.
            then = replace(revocation, effect=Effect.SUSPEND, until_us=wish.until_us)
        committed = await self._sequencer.commit(
            Command(claim, revocation, exact=wish.exact, awaited=wish.awaited, then=then)
        )
        if wish.until_us is not None:
            self._until.look_again()
        return Done(committed, then or revocation, wish.exact, killed=then is not None)

    async def _aim(self, wish: Wish, actor: Actor) -> tuple[Aim, str]:
        """Give whom a wish hits, and the reason, once all of it was checked."""
        scopes, reason = _checked(wish)
        selector = await self._selector(wish)
        actor.require(Scope.REVOKE, "revoking")
        await require_reach(selector, actor, self._table)
        return Aim(wish.verb, selector, wish.issued_before_us, wish.until_us, scopes), reason

    async def _selector(self, wish: Wish) -> Selector:
        if (wish.token is None) == (not wish.selector):
            raise InvalidRequestError(
                FieldProblem("selector", 'expected either "selector": [handle, …] or "token"')
            )
        texts = wish.selector if wish.token is None else [await self._handle_of(wish.token)]
        try:
            selector = select(texts, exact=wish.exact)
        except SelectorError as error:
            raise InvalidRequestError(FieldProblem("selector", str(error))) from None
        if wish.verb is Verb.KILL and [kind_of(each) for each in selector.handles] != ["chain"]:
            raise InvalidRequestError(
                FieldProblem("selector", "a kill is of one subject: expected [chain:<subject>]")
            )
        return selector

    async def _handle_of(self, token: str) -> str:
        try:
            tokens.parse(token, prefix=self._prefix)
        except MalformedTokenError as error:
            raise InvalidRequestError(FieldProblem("token", str(error))) from None
        record, _ = await self._resolver.look(tokens.digest(token))
        if record is None:
            raise InvalidRequestError(FieldProblem("token", "no such token was issued here"))
        return f"token:{record.token_id}"


def _checked(wish: Wish) -> tuple[tuple[str, ...], str]:
    """Give the scopes and the reason. Raises InvalidRequestError for what a verb does not take."""
    findings = Findings()
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
