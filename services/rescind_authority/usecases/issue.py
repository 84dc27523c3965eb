"""Issue a token: mint it, store its hash, show it once."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rescind.core import handles, ids, tokens
from rescind.core.secret import Secret
from rescind.core.tokens import Kind
from rescind_authority.errors import ForbiddenError, KeyReusedError
from rescind_authority.ports import Claim, Entropy, Issued, NewToken, Transactions
from rescind_authority.usecases.authorise import AUDIENCE, Actor, Scope
from rescind_authority.usecases.facts import Findings
from rescind_runtime.clock import Clock


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


@dataclass(frozen=True, slots=True)
class Minted:
    """A new token: the only time its secret is at hand."""

    secret: Secret
    token: NewToken
    issued: Issued


@dataclass(frozen=True, slots=True)
class Repeated:
    """A repeat of an earlier call: the token exists, its secret was shown then."""

    token_id: str


class Issuer:
    """Make tokens. `edge_key` is the newest: sidecars know a forgery by its tag."""

    def __init__(
        self,
        transactions: Transactions,
        *,
        clock: Clock,
        entropy: Entropy,
        edge_key: bytes,
        prefix: str,
    ) -> None:
        self._transactions = transactions
        self._clock = clock
        self._entropy = entropy
        self._edge_key = edge_key
        self._prefix = prefix

    async def issue(self, wish: Wish, *, actor: Actor, claim: Claim) -> Minted | Repeated:
        """Issue what was asked for, once for each key.

        Raises InvalidRequestError, ForbiddenError, KeyReusedError, or what the store raises.
        """
        secret, token = self._mint(wish, actor=actor.subject)
        if token.kind is Kind.ADMIN:
            _require_admin(token, actor)
        async with self._transactions.begin() as transaction:
            claimed = (await transaction.claim([claim]))[claim.key]
            if claimed.body_hash != claim.body_hash:
                raise KeyReusedError
            if claimed.answer is not None:
                return Repeated(json.loads(claimed.answer)["token_id"])
            issued = await transaction.insert_token(token)
            await transaction.answer({claim.key: json.dumps({"token_id": token.token_id})})
        return Minted(secret, token, issued)

    async def make_admin(self, wish: Wish, *, actor: str) -> Minted:
        """Issue a token that no token authorises: the host's owner asks."""
        secret, token = self._mint(wish, actor=actor)
        async with self._transactions.begin() as transaction:
            issued = await transaction.insert_token(token)
        return Minted(secret, token, issued)

    def _mint(self, wish: Wish, *, actor: str) -> tuple[Secret, NewToken]:
        findings = Findings()
        subject = findings.subject(wish.subject)
        scopes = findings.scopes(wish.scopes)
        audience = findings.audience(wish.audience)
        labels = findings.labels(wish.labels)
        tenant = findings.name("tenant", wish.tenant)
        client = findings.name("client", wish.client)
        session = findings.name("session", wish.session)
        ttl_us = findings.ttl_us(wish.ttl_s)
        now_us = self._clock.wall_us()
        if wish.not_before_us is not None and not 0 < wish.not_before_us < now_us + ttl_us:
            findings.add("not_before", "expected a time before the token's end (now + ttl)")
        findings.raise_if_any()
        secret = tokens.mint(
            kind=wish.kind,
            random=self._entropy(tokens.RANDOM_BYTES),
            edge_key=self._edge_key,
            prefix=self._prefix,
        )
        token_id = ids.make("tok", now_ms=now_us // 1000, entropy=self._entropy(ids.ENTROPY_BYTES))
        return secret, NewToken(
            token_hash=tokens.digest(secret.reveal()),
            token_id=token_id,
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
                token_id=token_id,
                kind=wish.kind,
                subject=subject,
                tenant=tenant,
                client=client,
                session=session,
                labels=labels,
            ),
            not_before_us=wish.not_before_us,
            ttl_us=ttl_us,
            created_by=actor,
        )


def _require_admin(token: NewToken, actor: Actor) -> None:
    actor.require(Scope.ADMIN, "issuing an admin token")
    for scope in token.scopes:
        if scope not in actor.scopes:
            raise ForbiddenError(scope, "handing out this scope")
