"""The secret, the id and the issuance snapshot that every new token needs.

They are the same for every caller that requests a token.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from rescind.core import token_format
from rescind.core.handles import Handle
from rescind.core.revocation import Effect
from rescind.core.secret import Secret
from rescind.core.token_format import Kind
from rescind_authority.errors import KeyReusedError, StandingRevocationError
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.keys import EdgeKeys, Entropy
from rescind_authority.ports.ledger import IdempotentRequest, LedgerTransaction, Transactions
from rescind_authority.ports.tokens import IssuanceSnapshot, IssueTimes, NewToken
from rescind_authority.usecases.ledger import new_ids
from rescind_authority.usecases.lookups.resolver import hitting


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A secret of a token that is not stored yet, with the token id."""

    secret: Secret
    token_id: str

    @property
    def token_hash(self) -> bytes:
        """Return the hash of the secret, which is stored."""
        return token_format.digest(self.secret.reveal())

    @property
    def possession_hash(self) -> bytes:
        """Return the stored hash that identifies the holder of the secret after a rotation."""
        return token_format.possession_hash(self.secret.reveal())


@dataclass(frozen=True, slots=True)
class Minted:
    """A new token, with its secret, which is available at no other time.

    `removed` are the scope patterns that narrowings in force remove from it.
    """

    secret: Secret
    token: NewToken
    issued: IssueTimes
    removed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Repeated:
    """A repeat of an earlier call: the token exists, and its secret was returned then."""

    token_id: str


@dataclass(frozen=True, slots=True)
class TokenGenerator:
    """Generate secrets, with a tag by which sidecars detect forgeries."""

    clock: Clock
    entropy: Entropy
    edge_keys: EdgeKeys
    prefix: str

    def secret(self, kind: Kind) -> Secret:
        """Generate a secret that no token has had."""
        return token_format.mint(
            kind=kind,
            random=self.entropy(token_format.RANDOM_BYTES),
            edge_key=self.edge_keys.minting,
            prefix=self.prefix,
        )

    def generate(self, kind: Kind) -> NewSecret:
        """Generate a secret that no token has had, and a token id."""
        secret = self.secret(kind)
        return NewSecret(secret, new_ids.generate("tok", self.clock, self.entropy))


async def store_once(
    transactions: Transactions,
    idempotency: IdempotentRequest,
    store: Callable[[LedgerTransaction], Awaitable[Minted]],
) -> Minted | Repeated:
    """Store a token once for each idempotency key.

    Raises KeyReusedError, or the errors of `store`.
    """
    async with transactions.begin() as transaction:
        # The key comes first: a caller that waits here for another must read the snapshot
        # afterwards.
        first = (await transaction.lock_keys([idempotency]))[idempotency.key]
        if first.body_hash != idempotency.body_hash:
            raise KeyReusedError
        if first.answer is not None:
            return Repeated(json.loads(first.answer)["token_id"])
        minted = await store(transaction)
        await transaction.store_answers(
            {idempotency.key: json.dumps({"token_id": minted.token.grant.token_id})}
        )
    return minted


def require_no_revocation(issuance: IssuanceSnapshot, handles: Sequence[Handle]) -> frozenset[str]:
    """Raise StandingRevocationError if a restriction would deny the new token.

    `handles` are those of the token. A `revoke` in the issuance snapshot does not hit tokens that
    are issued after it. A `narrow` also applies to the new token, which may live: the scope
    patterns that narrowings remove from it are returned.
    """
    found = hitting(issuance.candidates, handles=handles, issued_seq=issuance.snapshot.as_of)
    for event in found:
        if event.revocation.effect != Effect.NARROW:
            raise StandingRevocationError(event.revocation)
    return frozenset(scope for event in found for scope in event.revocation.scopes)
