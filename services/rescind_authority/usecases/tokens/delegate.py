"""Issue a child token with a part of its parent's permissions.

The bearer of the parent delegates that part, and never more than the parent has (design 5).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rescind.core import delegation, handles
from rescind.core.delegation import ChildGrant, Right
from rescind.core.handles import Handle
from rescind.core.record import Record
from rescind.core.token_format import Kind
from rescind.core.verdict import Reason
from rescind_authority.errors import BeyondParentError, FieldError, UnauthenticatedError
from rescind_authority.ports.ledger import IdempotentRequest, LedgerTransaction, Transactions
from rescind_authority.ports.token_grant import TokenGrant
from rescind_authority.ports.tokens import IssuanceSnapshot, IssueTimes, NewToken
from rescind_authority.usecases.access.authoriser import (
    actor_name,
    find_denial,
    not_accepted,
    require_accepted,
)
from rescind_authority.usecases.lookups.resolver import record_of
from rescind_authority.usecases.tokens.new_token import (
    Minted,
    NewSecret,
    Repeated,
    TokenGenerator,
    require_no_revocation,
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


@dataclass(frozen=True, slots=True)
class Requester:
    """An OAuth client that requests a child, with its credential. The child gets its handle.

    A child without a lifetime of its own ends after `ttl_s` seconds, or with its parent.
    """

    client_id: str
    credential: Record
    ttl_s: float = DEFAULT_TTL_S


class EndedRequesterError(UnauthenticatedError):
    """Raised when the client that requests a child has ended, and not the parent."""


class Delegator:
    """Issue child tokens."""

    def __init__(self, transactions: Transactions, *, mint: TokenGenerator) -> None:
        self._transactions = transactions
        self._mint = mint

    async def delegate(
        self,
        command: DelegateCommand,
        *,
        parent_hash: bytes,
        idempotency: IdempotentRequest,
        requester: Requester | None = None,
    ) -> Minted | Repeated:
        """Issue a child with a part of its parent's permissions, once for each idempotency key.

        One statement inside the transaction reads the parent, whatever was read before, and the
        parent is checked as of its snapshot. The same snapshot determines the child's issued_seq.
        So the end of an ancestor either was seen and refused here, or has a higher seq and hits the
        child through a handle that it inherited.

        Raises InvalidRequestError, UnauthenticatedError, EndedRequesterError, BeyondParentError,
        StandingRevocationError, KeyReusedError, or the store's errors.
        """
        child_grant = _validate(command)
        new_secret = self._mint.generate(child_grant.kind)
        client = None if requester is None else requester.client_id
        default_ttl_s = DEFAULT_TTL_S if requester is None else requester.ttl_s

        async def store(transaction: LedgerTransaction) -> Minted:
            issuance = await transaction.read_issuance(
                parent_hash, _handles_of(new_secret, child_grant, client=client)
            )
            if requester is not None:
                # After the issuance snapshot: an end of the client is seen here, or is above
                # issued_seq.
                presented = await transaction.read_presented(requester.credential.token_hash)
                try:
                    require_accepted(requester.credential, presented, "client's credential")
                except UnauthenticatedError as error:
                    raise EndedRequesterError(str(error), actor=error.actor) from None
            token, issued = _build_child(
                new_secret, child_grant, issuance, client=client, default_ttl_s=default_ttl_s
            )
            removed = require_no_revocation(issuance, token.grant.handles)
            await transaction.insert_token(token, issued)
            return Minted(new_secret.secret, token, issued, removed)

        return await store_once(self._transactions, idempotency, store)


def _validate(command: DelegateCommand) -> ChildGrant:
    field_errors = FieldErrors()
    child_grant = ChildGrant(
        subject=field_errors.subject(command.subject, command.kind),
        kind=command.kind,
        scopes=field_errors.scopes(command.scopes),
        audience=field_errors.audience(command.audience),
        labels=field_errors.labels(command.labels),
        ttl_us=None if command.ttl_s is None else field_errors.ttl_us(command.ttl_s),
        limits=field_errors.policy(
            field_errors.limits(command.may_speak_for, command.max_depth), command.self_service
        ),
        conditions=field_errors.conditions(command.addresses, command.verifier),
    )
    field_errors.raise_if_any()
    return child_grant


def _build_child(
    new_secret: NewSecret,
    child_grant: ChildGrant,
    issuance: IssuanceSnapshot,
    *,
    client: str | None,
    default_ttl_s: float,
) -> tuple[NewToken, IssueTimes]:
    """Return the child and its times, or raise the reason why it cannot be issued."""
    if issuance.parent is None:
        raise not_accepted(Reason.UNKNOWN, "parent token")
    parent, limits = (
        record_of(issuance.parent, issuance.snapshot),
        issuance.parent.token.grant.limits,
    )
    at_us = issuance.snapshot.at_us
    denied = find_denial(parent, at_us)
    if denied is not None:
        raise not_accepted(denied.reason, "parent token")
    excess = delegation.violations(parent, limits, child_grant, removed=parent.removed, at_us=at_us)
    if excess:
        raise BeyondParentError(*(FieldError(each.field, each.detail) for each in excess))
    child_grant = delegation.complete(parent, limits, child_grant)
    token = _build_token(new_secret, child_grant, parent, client=client)
    problem = too_many_names(token.grant)
    if problem is not None:
        raise BeyondParentError(problem)
    ttl_us = round(default_ttl_s * 1_000_000) if child_grant.ttl_us is None else child_grant.ttl_us
    return token, IssueTimes(
        issued_at_us=at_us,
        issued_seq=issuance.snapshot.as_of,
        expires_at_us=min(at_us + ttl_us, parent.expires_at_us),
    )


def _build_token(
    new_secret: NewSecret, child_grant: ChildGrant, parent: Record, *, client: str | None
) -> NewToken:
    grant = TokenGrant(
        token_id=new_secret.token_id,
        kind=child_grant.kind,
        subject=child_grant.subject,
        scopes=child_grant.scopes,
        audience=child_grant.audience,
        tenant=parent.tenant,
        client=client or parent.client,
        session=parent.session,
        labels=child_grant.labels,
        handles=_handles_of(
            new_secret, child_grant, delegation.inherited(parent.handles), client=client
        ),
        lineage=(*parent.lineage, parent.token_id),
        chain=(*parent.chain, parent.subject),
        not_before_us=None,
        limits=child_grant.limits,
        created_by=parent.subject,
        conditions=child_grant.conditions,
    )
    return NewToken(
        token_hash=new_secret.token_hash,
        grant=grant,
        issued_by=actor_name(parent.subject, parent.token_id),
        possession_hash=new_secret.possession_hash,
    )


def _handles_of(
    new_secret: NewSecret,
    child_grant: ChildGrant,
    inherited: Sequence[Handle] = (),
    *,
    client: str | None,
) -> tuple[Handle, ...]:
    return handles.of_token(
        token_id=new_secret.token_id,
        kind=child_grant.kind,
        subject=child_grant.subject,
        tenant=None,  # inherited from its parent, if there is one
        client=client,
        session=None,
        labels=child_grant.labels,
        inherited=inherited,
    )
