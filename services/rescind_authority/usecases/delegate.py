"""Delegate: whoever bears a token hands a part of its power on, and never more (design 5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rescind.core import delegation, handles
from rescind.core.delegation import Share
from rescind.core.handles import Handle
from rescind.core.record import Record
from rescind.core.revocation import Effect
from rescind.core.tokens import Kind
from rescind.core.verdict import Reason
from rescind_authority.errors import BeyondParentError, FieldProblem
from rescind_authority.ports.ledger import Claim, LedgerTransaction, Transactions
from rescind_authority.ports.tokens import Footing, Issued, NewToken, TokenState
from rescind_authority.usecases.authorise import actor_name, judge, refused
from rescind_authority.usecases.facts import DEFAULT_TTL_S, Findings
from rescind_authority.usecases.mint import Mint, Minted, Repeated, Struck, once, require_free
from rescind_authority.usecases.resolve import holding, record_of


@dataclass(frozen=True, slots=True)
class Portion:
    """What a holder wants to hand on, as it came. No `ttl_s`: an hour, or the parent's end."""

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


class Delegator:
    """Make tokens out of tokens."""

    def __init__(self, transactions: Transactions, *, mint: Mint) -> None:
        self._transactions = transactions
        self._mint = mint

    async def delegate(
        self, portion: Portion, *, parent_hash: bytes, claim: Claim
    ) -> Minted | Repeated:
        """Hand a portion of a parent's power on, once for each key.

        The parent is judged by one statement inside the transaction, whatever was known of it
        before, and the snapshot of that statement gives the child its issued_seq. So whatever ends
        an ancestor either was seen and refused here, or has a higher seq and hits the child
        through a handle that it inherited.

        Raises InvalidRequestError, UnauthenticatedError, BeyondParentError, HeldError,
        KeyReusedError, or what the store raises.
        """
        share = _read(portion)
        struck = self._mint.strike(share.kind)

        async def store(transaction: LedgerTransaction) -> Minted:
            footing = await transaction.footing(parent_hash, _handles(struck, share))
            token, issued = _child(struck, share, footing)
            await transaction.insert_token(token, issued)
            return Minted(struck.secret, token, issued)

        return await once(self._transactions, claim, store)


def _read(portion: Portion) -> Share:
    findings = Findings()
    share = Share(
        subject=findings.subject(portion.subject, portion.kind),
        kind=portion.kind,
        scopes=findings.scopes(portion.scopes),
        audience=findings.audience(portion.audience),
        labels=findings.labels(portion.labels),
        ttl_us=None if portion.ttl_s is None else findings.ttl_us(portion.ttl_s),
        mandate=findings.mandate(portion.may_speak_for, portion.max_depth),
        conditions=findings.conditions(portion.addresses, portion.verifier),
    )
    findings.raise_if_any()
    return share


def _child(struck: Struck, share: Share, footing: Footing) -> tuple[NewToken, Issued]:
    """Decide what the child is, or raise why there is none."""
    if footing.parent is None:
        raise refused(Reason.UNKNOWN, "parent token")
    parent, mandate = record_of(footing.parent, footing.snapshot), footing.parent.token.mandate
    at_us = footing.snapshot.at_us
    denied = judge(parent, at_us)
    if denied is not None:
        raise refused(denied.reason, "parent token")
    excess = delegation.excess(
        parent, mandate, share, removed=_removed(footing.parent), at_us=at_us
    )
    if excess:
        raise BeyondParentError(*(FieldProblem(each.field, each.detail) for each in excess))
    share = delegation.hand_down(parent, mandate, share)
    token = _token(struck, share, parent)
    require_free(footing, token.handles)
    ttl_us = round(DEFAULT_TTL_S * 1_000_000) if share.ttl_us is None else share.ttl_us
    return token, Issued(
        issued_at_us=at_us,
        issued_seq=footing.snapshot.as_of,
        expires_at_us=min(at_us + ttl_us, parent.expires_at_us),
    )


def _token(struck: Struck, share: Share, parent: Record) -> NewToken:
    return NewToken(
        token_hash=struck.token_hash,
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
        issued_by=actor_name(parent.subject, parent.token_id),
        conditions=share.conditions,
    )


def _handles(struck: Struck, share: Share, inherited: Sequence[Handle] = ()) -> tuple[Handle, ...]:
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
