"""Issue a child token with a part of its parent's power.

The bearer of the parent delegates that part, and never more than the parent has (design 5).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rescind.core import delegation, handles
from rescind.core.delegation import ChildGrant, Right
from rescind.core.handles import Handle
from rescind.core.record import Record
from rescind.core.revocation import Effect
from rescind.core.token_format import Kind
from rescind.core.verdict import Reason
from rescind_authority.errors import BeyondParentError, FieldError
from rescind_authority.ports.ledger import IdempotentRequest, LedgerTransaction, Transactions
from rescind_authority.ports.token_grant import TokenGrant
from rescind_authority.ports.tokens import IssuanceSnapshot, IssueTimes, NewToken, TokenState
from rescind_authority.usecases.access.authoriser import actor_name, judge, refused
from rescind_authority.usecases.lookups.resolver import holding, record_of
from rescind_authority.usecases.tokens.new_token import (
    Minted,
    NewSecret,
    Repeated,
    TokenGenerator,
    require_free,
    store_once,
)
from rescind_authority.usecases.validation import DEFAULT_TTL_S, FieldErrors, too_many_names


@dataclass(frozen=True, slots=True)
class DelegateCommand:
    """A child token that a holder requests, before validation.

    Without `ttl_s`, it ends after an hour, or at the parent's end if that is earlier.
    """

    subject: str
    kind: Kind
    scopes: Sequence[str]
    audience: Sequence[str]
    ttl_s: float | None
    labels: Mapping[str, str]
    may_speak_for: Sequence[str] = ()
    max_depth: int | None = None
    addresses: Sequence[str] = ()
    verifier: Mapping[str, str] = field(default_factory=dict[str, str])
    self_service: Sequence[Right] | None = None


class Delegator:
    """Issue child tokens."""

    def __init__(self, transactions: Transactions, *, mint: TokenGenerator) -> None:
        self._transactions = transactions
        self._mint = mint

    async def delegate(
        self, portion: DelegateCommand, *, parent_hash: bytes, idempotency: IdempotentRequest
    ) -> Minted | Repeated:
        """Issue a child with a part of its parent's power, once for each idempotency key.

        One statement inside the transaction reads the parent, whatever was read before, and the
        parent is checked as of its snapshot. The same snapshot determines the child's issued_seq.
        So the end of an ancestor either was seen and refused here, or has a higher seq and hits the
        child through a handle that it inherited.

        Raises InvalidRequestError, UnauthenticatedError, BeyondParentError, ActiveRevocationError,
        KeyReusedError, or the store's errors.
        """
        share = _read(portion)
        struck = self._mint.strike(share.kind)

        async def store(transaction: LedgerTransaction) -> Minted:
            footing = await transaction.footing(parent_hash, _handles(struck, share))
            token, issued = _child(struck, share, footing)
            await transaction.insert_token(token, issued)
            return Minted(struck.secret, token, issued)

        return await store_once(self._transactions, idempotency, store)


def _read(portion: DelegateCommand) -> ChildGrant:
    findings = FieldErrors()
    share = ChildGrant(
        subject=findings.subject(portion.subject, portion.kind),
        kind=portion.kind,
        scopes=findings.scopes(portion.scopes),
        audience=findings.audience(portion.audience),
        labels=findings.labels(portion.labels),
        ttl_us=None if portion.ttl_s is None else findings.ttl_us(portion.ttl_s),
        mandate=findings.policy(
            findings.mandate(portion.may_speak_for, portion.max_depth), portion.self_service
        ),
        conditions=findings.conditions(portion.addresses, portion.verifier),
    )
    findings.raise_if_any()
    return share


def _child(
    struck: NewSecret, share: ChildGrant, footing: IssuanceSnapshot
) -> tuple[NewToken, IssueTimes]:
    """Return the child and its times, or raise the reason why it cannot be issued."""
    if footing.parent is None:
        raise refused(Reason.UNKNOWN, "parent token")
    parent, mandate = (
        record_of(footing.parent, footing.snapshot),
        footing.parent.token.grant.mandate,
    )
    at_us = footing.snapshot.at_us
    denied = judge(parent, at_us)
    if denied is not None:
        raise refused(denied.reason, "parent token")
    excess = delegation.excess(
        parent, mandate, share, removed=_removed(footing.parent), at_us=at_us
    )
    if excess:
        raise BeyondParentError(*(FieldError(each.field, each.detail) for each in excess))
    share = delegation.hand_down(parent, mandate, share)
    token = _token(struck, share, parent)
    problem = too_many_names(token.grant)
    if problem is not None:
        raise BeyondParentError(problem)
    require_free(footing, token.grant.handles)
    ttl_us = round(DEFAULT_TTL_S * 1_000_000) if share.ttl_us is None else share.ttl_us
    return token, IssueTimes(
        issued_at_us=at_us,
        issued_seq=footing.snapshot.as_of,
        expires_at_us=min(at_us + ttl_us, parent.expires_at_us),
    )


def _token(struck: NewSecret, share: ChildGrant, parent: Record) -> NewToken:
    grant = TokenGrant(
        token_id=struck.token_id,
        kind=share.kind,
        subject=share.subject,
        scopes=share.scopes,
        audience=share.audience,
        tenant=parent.tenant,
        client=parent.client,
        session=parent.session,
        labels=share.labels,
        handles=_handles(struck, share, delegation.inherited(parent.handles)),
        lineage=(*parent.lineage, parent.token_id),
        chain=(*parent.chain, parent.subject),
        not_before_us=None,
        mandate=share.mandate,
        created_by=parent.subject,
        conditions=share.conditions,
    )
    return NewToken(
        token_hash=struck.token_hash,
        grant=grant,
        issued_by=actor_name(parent.subject, parent.token_id),
        possession_hash=struck.possession_hash,
    )


def _handles(
    struck: NewSecret, share: ChildGrant, inherited: Sequence[Handle] = ()
) -> tuple[Handle, ...]:
    return handles.of_token(
        token_id=struck.token_id,
        kind=share.kind,
        subject=share.subject,
        tenant=None,  # its parent's, and so among the inherited
        client=None,
        session=None,
        labels=share.labels,
        inherited=inherited,
    )


def _removed(parent: TokenState) -> frozenset[str]:
    return frozenset(
        scope
        for event in holding(parent)
        if event.revocation.effect == Effect.NARROW
        for scope in event.revocation.scopes
    )
