"""Revoke: from what a person wrote to a place in the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass

from rescind.core import ids, tokens
from rescind.core.handles import EVERYTHING, Handle, Selector, select
from rescind.core.revocation import Effect, Revocation
from rescind.core.tokens import Kind
from rescind.errors import MalformedTokenError, SelectorError
from rescind_authority.errors import FieldProblem, InvalidRequestError
from rescind_authority.ports import Claim, Entropy, Tokens
from rescind_authority.usecases.authorise import Actor, Scope
from rescind_authority.usecases.facts import Findings
from rescind_authority.usecases.resolve import Resolver
from rescind_authority.usecases.sequence import Command, Committed, Sequencer
from rescind_runtime.clock import Clock

_ADMINS = Handle(f"kind:{Kind.ADMIN}")


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants revoked: by selector or by a token; `issued_before_us` is Unix µs."""

    selector: Sequence[str]
    token: str | None
    exact: bool
    issued_before_us: int | None
    reason: str
    awaited: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """A revocation in the ledger. For a repeat of a key, all but the place is as asked again."""

    committed: Committed
    revocation: Revocation


class Revoker:
    """Turn wishes into commands, and have them committed."""

    def __init__(
        self,
        sequencer: Sequencer,
        *,
        resolver: Resolver,
        table: Tokens,
        clock: Clock,
        entropy: Entropy,
        prefix: str,
    ) -> None:
        self._sequencer = sequencer
        self._resolver = resolver
        self._table = table
        self._clock = clock
        self._entropy = entropy
        self._prefix = prefix

    async def revoke(self, wish: Wish, *, actor: Actor, claim: Claim) -> Done:
        """Commit a revocation. Raises InvalidRequestError, ForbiddenError or the sequencer's."""
        selector = await self._selector(wish)
        findings = Findings()
        reason = findings.reason(wish.reason)
        findings.raise_if_any()
        await self._authorise(selector, actor)
        revocation_id = ids.make(
            "rev",
            now_ms=self._clock.wall_us() // 1000,
            entropy=self._entropy(ids.ENTROPY_BYTES),
        )
        revocation = Revocation(
            revocation_id=revocation_id,
            selector=selector,
            effect=Effect.REVOKE,
            reason=reason,
            actor=actor.subject,
            issued_before_us=wish.issued_before_us,
        )
        committed = await self._sequencer.commit(
            Command(claim, revocation, exact=wish.exact, awaited=wish.awaited)
        )
        return Done(committed, revocation)

    async def _selector(self, wish: Wish) -> Selector:
        if (wish.token is None) == (not wish.selector):
            raise InvalidRequestError(
                FieldProblem("selector", 'expected either "selector": [handle, …] or "token"')
            )
        texts = wish.selector if wish.token is None else [await self._handle_of(wish.token)]
        try:
            return select(texts, exact=wish.exact)
        except SelectorError as error:
            raise InvalidRequestError(FieldProblem("selector", str(error))) from None

    async def _handle_of(self, token: str) -> str:
        try:
            tokens.parse(token, prefix=self._prefix)
        except MalformedTokenError as error:
            raise InvalidRequestError(FieldProblem("token", str(error))) from None
        record, _ = await self._resolver.look(tokens.digest(token))
        if record is None:
            raise InvalidRequestError(FieldProblem("token", "no such token was issued here"))
        return f"token:{record.token_id}"

    async def _authorise(self, selector: Selector, actor: Actor) -> None:
        actor.require(Scope.REVOKE, "revoking")
        if Scope.ADMIN in actor.scopes:
            return
        wide = EVERYTHING in selector.handles
        if _ADMINS not in selector.handles and (
            wide or not await self._table.any_admin({*selector.handles, _ADMINS})
        ):
            return  # `*` spares admin tokens unless they are named
        actor.require(Scope.ADMIN, "revoking admin tokens")
