"""What every new token needs, whoever asks for it: a secret, a name, and a footing."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from rescind.core import tokens
from rescind.core.handles import Handle
from rescind.core.revocation import Effect
from rescind.core.secret import Secret
from rescind.core.tokens import Kind
from rescind_authority.errors import HeldError, KeyReusedError
from rescind_authority.ports.keys import EdgeKeys, Entropy
from rescind_authority.ports.ledger import Claim, LedgerTransaction, Transactions
from rescind_authority.ports.tokens import Footing, Issued, NewToken
from rescind_authority.usecases import naming
from rescind_authority.usecases.resolve import hitting
from rescind_runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class Struck:
    """A secret that is no token yet, with its public name."""

    secret: Secret
    token_id: str

    @property
    def token_hash(self) -> bytes:
        """What is stored of the secret."""
        return tokens.digest(self.secret.reveal())


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


@dataclass(frozen=True, slots=True)
class Mint:
    """Strike secrets, with a tag by which sidecars know a forgery."""

    clock: Clock
    entropy: Entropy
    edge_keys: EdgeKeys
    prefix: str

    def secret(self, kind: Kind) -> Secret:
        """Make a secret that nobody had before."""
        return tokens.mint(
            kind=kind,
            random=self.entropy(tokens.RANDOM_BYTES),
            edge_key=self.edge_keys.minting,
            prefix=self.prefix,
        )

    def strike(self, kind: Kind) -> Struck:
        """Make a secret that nobody had before, and name it."""
        secret = self.secret(kind)
        return Struck(secret, naming.name("tok", self.clock, self.entropy))


async def once(
    transactions: Transactions,
    claim: Claim,
    store: Callable[[LedgerTransaction], Awaitable[Minted]],
) -> Minted | Repeated:
    """Store a token once for each key. Raises KeyReusedError, or what `store` raises."""
    async with transactions.begin() as transaction:
        # First of all: whoever waits here for another must not stand on an old footing.
        claimed = (await transaction.claim([claim]))[claim.key]
        if claimed.body_hash != claim.body_hash:
            raise KeyReusedError
        if claimed.answer is not None:
            return Repeated(json.loads(claimed.answer)["token_id"])
        minted = await store(transaction)
        await transaction.answer({claim.key: json.dumps({"token_id": minted.token.token_id})})
    return minted


def require_free(footing: Footing, handles: Sequence[Handle]) -> None:
    """Raise HeldError where a standing revocation would deny a token with these handles.

    A `revoke` that the footing shows is over for whoever comes after it; a `narrow` goes on
    narrowing the new token, which may live.
    """
    held = hitting(footing.candidates, handles=handles, issued_seq=footing.snapshot.as_of)
    for event in held:
        if event.revocation.effect != Effect.NARROW:
            raise HeldError(event.revocation)
