"""Introspect and revoke the tokens that OAuth clients present (RFC 7662, RFC 7009)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rescind.core import token_format
from rescind.core.handles import select
from rescind.core.record import Record
from rescind.core.revocation import Effect, Revocation
from rescind.core.verdict import Reason
from rescind.core.well_known_scopes import INTROSPECT
from rescind.errors import MalformedTokenError, RescindError
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.keys import EdgeKeys, Entropy
from rescind_authority.ports.ledger import CommittedEvent, IdempotentRequest
from rescind_authority.ports.revocations import Revocations
from rescind_authority.usecases.access.authoriser import find_denial
from rescind_authority.usecases.access.change_budgets import Budgets, Cost
from rescind_authority.usecases.ledger import new_ids
from rescind_authority.usecases.ledger.sequencer import LedgerCommand, Sequencer
from rescind_authority.usecases.lookups.resolver import LookupResult, Resolver
from rescind_authority.usecases.oauth.authentication import AuthenticatedClient

_ENDED = frozenset({Reason.EXPIRED, Reason.REVOKED})
"""The reasons of tokens that are never accepted again."""


class IntrospectionNotAllowedError(RescindError):
    """Raised when a client that may not introspect does."""

    def __init__(self) -> None:
        super().__init__(
            f"this client may not introspect tokens: its credential lacks {INTROSPECT}. Add it "
            "with `rescind clients add --introspect`."
        )


class NotTheClientsTokenError(RescindError):
    """Raised when a client revokes a token that was not issued to it."""

    def __init__(self) -> None:
        super().__init__("this token was not issued to this client; nothing was changed.")


@dataclass(frozen=True, slots=True)
class _Found:
    record: Record
    at_us: int


class PresentedTokens:
    """Introspect and revoke tokens by their secrets. A forged token costs no look-up."""

    def __init__(
        self,
        resolver: Resolver,
        *,
        edge_keys: EdgeKeys,
        sequencer: Sequencer,
        budgets: Budgets,
        revocations: Revocations,
        clock: Clock,
        entropy: Entropy,
        prefix: str,
    ) -> None:
        self._resolver = resolver
        self._edge_keys = edge_keys
        self._sequencer = sequencer
        self._budgets = budgets
        self._revocations = revocations
        self._clock = clock
        self._entropy = entropy
        self._prefix = prefix

    async def introspect(
        self, token: str, *, client: AuthenticatedClient, address: str | None
    ) -> Record | None:
        """Return the record of a token that is accepted now, or None.

        The token is judged as it is at any service: the caller compares the audience. `address` is
        that of the token's bearer, as the caller saw it. A token that is bound to verifiers is not
        accepted, because the authority does not know the labels of the caller. Raises
        IntrospectionNotAllowedError, or the store's errors.
        """
        if INTROSPECT not in client.credential.scopes:
            raise IntrospectionNotAllowedError
        found = await self._find(token, self._resolver.read_presented)
        if found is None or find_denial(found.record, found.at_us) is not None:
            return None
        conditions = found.record.conditions
        return found.record if conditions.admits(address) and not conditions.verifier else None

    async def revoke(
        self,
        token: str,
        *,
        client: AuthenticatedClient,
        awaited: bool,
        idempotency: IdempotentRequest,
    ) -> CommittedEvent | None:
        """Revoke a client's token and its descendants.

        Return None if the token is not accepted anyway. If the caller awaits the enforcement, and
        an event ended the token before, return that event: a verifier may not have it yet.

        Raises NotTheClientsTokenError, TooManyChangesError, or the sequencer's errors.
        """
        found = await self._find(token, self._read)
        if found is None:
            return None
        record = found.record
        if record.client != client.client_id:
            raise NotTheClientsTokenError
        denied = find_denial(record, found.at_us)
        if denied is not None and denied.reason in _ENDED:
            return await self._read_end(record) if awaited else None
        self._budgets.take(record, Cost.EVENT, last=True, client=client.client_id)
        revocation = Revocation(
            revocation_id=new_ids.generate("rev", self._clock, self._entropy),
            selector=select([f"token:{record.token_id}"], exact=False),
            effect=Effect.REVOKE,
            reason="revoked by its client",
            actor=client.name,
        )
        return await self._sequencer.commit(
            LedgerCommand(idempotency, revocation, exact=False, awaited=awaited)
        )

    async def _read_end(self, record: Record) -> CommittedEvent | None:
        """Return the first event that ended a token; None if its time did."""
        ends = [
            each
            for each in record.restrictions
            if each.revocation_id and each.effect not in {Effect.SUSPEND, Effect.NARROW}
        ]
        if not ends:
            return None
        first = min(ends, key=lambda each: each.seq)
        stored = await self._revocations.get(first.revocation_id)
        return None if stored is None else stored.committed

    async def _read(self, token: str) -> LookupResult:
        return await self._resolver.read(token_format.digest(token))

    async def _find(
        self, token: str, read: Callable[[str], Awaitable[LookupResult]]
    ) -> _Found | None:
        try:
            parsed = token_format.parse(token, prefix=self._prefix)
        except MalformedTokenError:
            return None
        if not token_format.genuine(parsed, self._edge_keys.accepted):
            return None
        found = await read(token)
        return None if found.record is None else _Found(found.record, found.snapshot.at_us)
