"""Who may call the API: admin tokens, which are rescind tokens with these scopes, and parents."""

from dataclasses import dataclass
from enum import StrEnum

from rescind.core import tokens, verdict
from rescind.core.handles import EVERYTHING, Handle, Selector
from rescind.core.powers import AUDIENCE
from rescind.core.record import Record
from rescind.core.tokens import Kind
from rescind.errors import MalformedTokenError
from rescind_authority.errors import ForbiddenError, UnauthenticatedError
from rescind_authority.ports.keys import EdgeKeys
from rescind_authority.ports.lists import Tokens
from rescind_authority.ports.tokens import Snapshot
from rescind_authority.usecases.facts import RESERVED
from rescind_authority.usecases.resolve import Resolver, record_of

_ADMINS = Handle(f"kind:{Kind.ADMIN}")


class Scope(StrEnum):
    """What an admin token may do."""

    READ = "rescind:read"
    ISSUE = "rescind:issue"
    REVOKE = "rescind:revoke"
    LIFT = "rescind:lift"  # give back what a suspension or a narrowing holds
    ENROL = "rescind:enrol"  # issue and rotate the credentials of sidecars, and nothing else
    ADMIN = "rescind:admin"  # issue and revoke admin tokens too, and change the lease term


ALL_SCOPES = tuple(sorted(Scope))

# Before there was `rescind:enrol`, this was what made credentials and could do what they can.
_AS_ENROL = frozenset({Scope.ADMIN, Scope.ISSUE, Scope.READ})


@dataclass(frozen=True, slots=True)
class Actor:
    """The administrator who gives a command. Idempotency keys belong to the subject.

    `scopes` are those that no revocation takes away. `token_hash` is of the secret that was
    presented, `handles` are the token's.
    """

    subject: str
    token_id: str
    scopes: frozenset[str]
    token_hash: bytes
    handles: frozenset[Handle] = frozenset()

    @property
    def name(self) -> str:
        """Return what the ledger and the audit call this actor."""
        return actor_name(self.subject, self.token_id)

    def holds(self, scope: str) -> bool:
        """Return True if this actor has a scope, by name."""
        return scope in self.scopes or (scope == Scope.ENROL and self.scopes >= _AS_ENROL)

    def require(self, scope: Scope, action: str) -> None:
        """Raise ForbiddenError unless this actor has the scope."""
        if not self.holds(scope):
            raise ForbiddenError(scope, action)


def actor_name(subject: str, token_id: str) -> str:
    """Return what the ledger and the audit call the bearer of a token.

    The subject alone is not enough: who issues the token chooses it. The id comes last, and has no
    space in it.
    """
    return f"{subject} {token_id}"


class Authoriser:
    """Recognise who calls. Every call looks the token up anew: a dead one is dead at once."""

    def __init__(self, resolver: Resolver, *, edge_keys: EdgeKeys, prefix: str) -> None:
        self._resolver = resolver
        self._edge_keys = edge_keys
        self._prefix = prefix

    async def recognise(self, bearer: str | None, *, address: str | None) -> Actor:
        """Say who calls with this token. Raises UnauthenticatedError with the reason."""
        record, at_us = await self._look(bearer, "admin token")
        denied = judge(record, at_us) or verdict.permitted(
            record, require=(), audience=AUDIENCE, address=address
        )
        if denied is not None:
            raise refused(denied.reason, "admin token")
        if record.kind is not Kind.ADMIN:
            raise UnauthenticatedError(
                f"this is a token of kind {record.kind}; the API takes admin tokens."
            )
        if record.subject.startswith(RESERVED):
            # Issued before such subjects were refused. What rescind does by itself has keys there.
            raise UnauthenticatedError(f"the subject {RESERVED}… is reserved: issue another token.")
        return _actor(record)

    async def parent(self, bearer: str | None, *, address: str | None) -> Record:
        """Read the record of a token that is to be handed on, good wherever it is to be used.

        Raises UnauthenticatedError with the reason.
        """
        record, at_us = await self._look(bearer, "parent token")
        denied = judge(record, at_us)
        if denied is None and not record.conditions.admits(address):
            denied = verdict.Denied(verdict.Reason.WRONG_ADDRESS)
        if denied is not None:
            raise refused(denied.reason, "parent token")
        return record

    async def _look(self, bearer: str | None, what: str) -> tuple[Record, int]:
        if bearer is None:
            raise UnauthenticatedError(
                f"send the {what} as `Authorization: Bearer <token>`.", sent=False
            )
        try:
            token = tokens.parse(bearer, prefix=self._prefix)
        except MalformedTokenError as error:
            raise UnauthenticatedError(f"the bearer is {error}.") from None
        # The tag costs microseconds: a flood of forgeries never reaches Postgres.
        if not tokens.genuine(token, self._edge_keys.live):
            raise refused(verdict.Reason.UNKNOWN, what)
        record, at_us = await self._resolver.look(tokens.digest(bearer))
        if record is None:
            raise refused(verdict.Reason.UNKNOWN, what)
        return record, at_us


def again(actor: Actor, snapshot: Snapshot) -> Actor:
    """Return an actor as a later snapshot of its token shows it. Raises UnauthenticatedError."""
    for state in snapshot.tokens:
        record = record_of(state, snapshot)
        if (record.token_hash, record.token_id) == (actor.token_hash, actor.token_id):
            denied = judge(record, snapshot.at_us)
            if denied is not None:
                raise refused(denied.reason, "admin token")
            return _actor(record)
    raise refused(verdict.Reason.UNKNOWN, "admin token")


def _actor(record: Record) -> Actor:
    return Actor(
        subject=record.subject,
        token_id=record.token_id,
        scopes=record.scopes,
        token_hash=record.token_hash,
        handles=frozenset(record.handles),
    )


async def require_reach(selector: Selector, actor: Actor, table: Tokens) -> None:
    """Raise ForbiddenError where a selector may hit admin tokens, unless the actor may do that."""
    if Scope.ADMIN in actor.scopes:
        return
    wide = EVERYTHING in selector.handles
    if _ADMINS not in selector.handles and (
        wide or not await table.any_admin({*selector.handles, _ADMINS})
    ):
        return  # `*` spares admin tokens unless they are named
    actor.require(Scope.ADMIN, "a command that hits admin tokens")


def judge(record: Record, at_us: int) -> verdict.Denied | None:
    """Judge a token by what holds it and by the time, whatever it is presented for."""
    return verdict.standing(record) or verdict.timely(record, earliest_us=at_us, latest_us=at_us)


def refused(reason: verdict.Reason, what: str) -> UnauthenticatedError:
    """Say why a token is not accepted."""
    return UnauthenticatedError(f"the {what} is not accepted: {reason}.")
