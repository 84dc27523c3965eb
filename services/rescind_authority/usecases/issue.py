"""Issue a token: mint it, store its hash, show it once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rescind.core import handles, powers
from rescind.core.powers import AUDIENCE
from rescind.core.tokens import Kind
from rescind_authority.ports.enrolments import Binding
from rescind_authority.ports.ledger import Claim, Key, LedgerTransaction, Transactions
from rescind_authority.ports.tokens import Footing, Issued, NewToken
from rescind_authority.usecases.authorise import Actor, again
from rescind_authority.usecases.facts import Findings
from rescind_authority.usecases.grants import Power, require_held
from rescind_authority.usecases.mint import Mint, Minted, Repeated, Struck, once, require_free


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks for, as it came; `not_before_us` is Unix microseconds."""

    subject: str
    kind: Kind
    scopes: Sequence[str]
    audience: Sequence[str]
    ttl_s: float
    labels: Mapping[str, str]
    tenant: str | None = None
    client: str | None = None
    session: str | None = None
    not_before_us: int | None = None
    may_speak_for: Sequence[str] = ()
    max_depth: int | None = None
    user_agent: str | None = None
    address: str | None = None
    addresses: Sequence[str] = ()
    verifier: Mapping[str, str] = field(default_factory=dict[str, str])
    sidecars: Binding | None = None


class Issuer:
    """Make tokens that are nobody's children."""

    def __init__(self, transactions: Transactions, *, mint: Mint) -> None:
        self._transactions = transactions
        self._mint = mint

    async def issue(self, wish: Wish, *, actor: Actor, claim: Claim) -> Minted | Repeated:
        """Issue what was asked for, once for each key.

        Raises InvalidRequestError, ForbiddenError, UnauthenticatedError, HeldError, KeyReusedError,
        or what the store raises.
        """
        struck, token, ttl_us = self._prepare(wish, actor=actor.subject, issued_by=actor.name)
        power = Power(token.kind, token.scopes, token.audience)
        require_held(actor, power, "issuing")

        async def store(transaction: LedgerTransaction) -> Minted:
            footing = await transaction.footing(None, token.handles)
            require_free(footing, token.handles)
            # After the footing: whatever ends the issuer was seen here, or is above issued_seq.
            now = again(actor, await transaction.presented(actor.token_hash))
            require_held(now, power, "issuing")
            issued = _issued(footing, ttl_us)
            await transaction.insert_token(token, issued)
            return Minted(struck.secret, token, issued)

        return await once(self._transactions, claim, store)

    async def make_admin(self, wish: Wish, *, actor: str) -> Minted:
        """Issue a token that no token authorises: the host's owner asks."""
        struck, token, ttl_us = self._prepare(wish, actor=actor, issued_by=actor)
        async with self._transactions.begin() as transaction:
            # Written before the footing is read, as by `once`: the sweep waits for whoever has.
            key = Key(actor, token.token_id)
            await transaction.claim([Claim(key, token.token_hash)])
            issued = _issued(await transaction.footing(None, token.handles), ttl_us)
            await transaction.insert_token(token, issued)
            await transaction.answer({key: token.token_id})
        return Minted(struck.secret, token, issued)

    def _prepare(self, wish: Wish, *, actor: str, issued_by: str) -> tuple[Struck, NewToken, int]:
        findings = Findings()
        subject = findings.subject(wish.subject, wish.kind)
        scopes = findings.scopes(wish.scopes)
        audience = findings.audience(wish.audience)
        labels = findings.labels(wish.labels)
        tenant = findings.name("tenant", wish.tenant)
        client = findings.name("client", wish.client)
        session = findings.name("session", wish.session)
        conditions = findings.conditions(wish.addresses, wish.verifier)
        device = findings.device(wish.user_agent, wish.address)
        mandate = findings.credential(
            subject,
            wish.kind,
            scopes=scopes,
            audience=audience,
            mandate=findings.mandate(wish.may_speak_for, wish.max_depth),
        )
        sidecars = findings.sidecars(wish.sidecars, scopes)
        ttl_us = findings.ttl_us(wish.ttl_s)
        findings.name("created_by", actor)
        now_us = self._mint.clock.wall_us()
        if wish.not_before_us is not None and not 0 < wish.not_before_us < now_us + ttl_us:
            findings.add("not_before", "expected a time before the token's end (now + ttl)")
        findings.raise_if_any()
        struck = self._mint.strike(wish.kind)
        token = NewToken(
            token_hash=struck.token_hash,
            token_id=struck.token_id,
            kind=wish.kind,
            subject=subject,
            scopes=scopes,
            # An admin token is good here; without an audience it would be good everywhere.
            audience=audience or ((AUDIENCE,) if wish.kind is Kind.ADMIN else ()),
            tenant=tenant,
            client=client,
            session=session,
            labels=labels,
            handles=handles.of_token(
                token_id=struck.token_id,
                kind=wish.kind,
                subject=subject,
                tenant=tenant,
                client=client,
                session=session,
                labels=labels,
                created_by=actor,
                credential=powers.is_credential(scopes),
            ),
            lineage=(),
            chain=(),
            not_before_us=wish.not_before_us,
            mandate=mandate,
            created_by=actor,
            issued_by=issued_by,
            sidecars=sidecars,
            device=device,
            conditions=conditions,
        )
        return struck, token, ttl_us


def _issued(footing: Footing, ttl_us: int) -> Issued:
    at_us = footing.snapshot.at_us
    return Issued(at_us, footing.snapshot.as_of, at_us + ttl_us)
