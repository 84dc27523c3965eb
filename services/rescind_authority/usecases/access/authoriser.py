"""Authenticate and authorise callers: admin tokens by their scopes, and holders of tokens."""

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum

from rescind.core import token_format, verdict
from rescind.core.delegation import DelegationLimits, Right, rights
from rescind.core.handles import EVERYTHING, Handle, Selector
from rescind.core.record import Record
from rescind.core.token_format import Kind
from rescind.core.well_known_scopes import AUDIENCE
from rescind.errors import MalformedTokenError
from rescind_authority.actors import RESERVED
from rescind_authority.errors import ForbiddenError, SelfServiceError, UnauthenticatedError
from rescind_authority.ports.keys import EdgeKeys
from rescind_authority.ports.token_search import Tokens
from rescind_authority.ports.tokens import Snapshot
from rescind_authority.usecases.lookups.resolver import Resolver, record_of

_MAX_REFUSED = 4_096
_ADMINS = Handle(f"kind:{Kind.ADMIN}")


class Scope(StrEnum):
    """The scopes of admin tokens."""

    READ = "rescind:read"
    ISSUE = "rescind:issue"
    REVOKE = "rescind:revoke"
    LIFT = "rescind:lift"  # end a suspension or a narrowing
    ENROL = "rescind:enrol"  # issue and rotate the credentials of sidecars, and nothing else
    ADMIN = "rescind:admin"  # issue and revoke admin tokens too, and change the lease term


ALL_SCOPES = tuple(sorted(Scope))

# Before `rescind:enrol` existed, these scopes together issued credentials, and had a credential's
# permissions.
_SAME_AS_ENROL = frozenset({Scope.ADMIN, Scope.ISSUE, Scope.READ})


@dataclass(frozen=True, slots=True)
class Actor:
    """The administrator that gives a command. Idempotency keys belong to the subject.

    `scopes` are those that no revocation removes. `token_hash` is of the presented secret.
    `handles` are the token's.
    """

    subject: str
    token_id: str
    scopes: frozenset[str]
    token_hash: bytes
    handles: frozenset[Handle] = frozenset()

    @property
    def name(self) -> str:
        """Return this actor's name in the ledger and in the audit."""
        return actor_name(self.subject, self.token_id)

    def holds(self, scope: str) -> bool:
        """Return True if this actor has a scope, by name."""
        return scope in self.scopes or (scope == Scope.ENROL and self.scopes >= _SAME_AS_ENROL)

    def require(self, scope: Scope, action: str) -> None:
        """Raise ForbiddenError unless this actor has the scope."""
        if not self.holds(scope):
            raise ForbiddenError(scope, action)


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of a token: the token's record, and the limits that its issuer set."""

    record: Record
    limits: DelegationLimits

    @property
    def name(self) -> str:
        """Return this holder's name in the ledger and in the audit."""
        return actor_name(self.record.subject, self.record.token_id)

    def require(self, right: Right, action: str) -> None:
        """Raise SelfServiceError unless this holder has the right."""
        if right not in rights(self.record, self.limits):
            raise SelfServiceError(
                f"the holder of this token may not {action}: its audience or verifier binds it "
                f"elsewhere, or its issuer left `{right}` out of self_service."
            )


def actor_name(subject: str, token_id: str) -> str:
    """Return the name of a token's bearer in the ledger and in the audit.

    The subject alone is not enough, because the issuer of the token chooses it. The id comes last,
    and contains no space.
    """
    return f"{subject} {token_id}"


@dataclass(frozen=True, slots=True)
class Admission:
    """An actor, and the record that identified it at `at_us` (Postgres's clock)."""

    actor: Actor
    record: Record
    at_us: int


class Authoriser:
    """Authenticate callers. Each call looks the token up, so a revocation takes effect at once."""

    def __init__(self, resolver: Resolver, *, edge_keys: EdgeKeys, prefix: str) -> None:
        self._resolver = resolver
        self._edge_keys = edge_keys
        self._prefix = prefix
        self._refused: OrderedDict[bytes, None] = OrderedDict()

    def find_own_kind(self, bearer: str | None) -> Kind | None:
        """Return the kind of a bearer token that was made here, or None for any other.

        A token whose latest call was refused also returns None. The check costs microseconds and no
        look-up, so it does not show what the token may do.
        """
        try:
            token = token_format.parse(bearer or "", prefix=self._prefix)
        except MalformedTokenError:
            return None
        ours = token_format.genuine(token, self._edge_keys.accepted)
        refused = token_format.digest(bearer or "") in self._refused
        return token.kind if ours and not refused else None

    async def recognise(self, bearer: str | None, *, address: str | None) -> Actor:
        """Return the actor that calls with this token.

        Raises UnauthenticatedError with the reason.
        """
        return (await self.admit(bearer, address=address)).actor

    async def admit(self, bearer: str | None, *, address: str | None) -> Admission:
        """Return the actor that calls with this token, and the record that identified it.

        Raises UnauthenticatedError with the reason.
        """
        record, _, at_us = await self._authenticate(bearer, "admin token")
        denied = find_denial(record, at_us) or verdict.permitted(
            record, require=(), audience=AUDIENCE, address=address
        )
        self._remember_outcome(record.token_hash, refused=denied is not None)
        if denied is not None:
            raise not_accepted(denied.reason, "admin token", record)
        if record.kind is not Kind.ADMIN:
            raise UnauthenticatedError(
                f"this is a token of kind {record.kind}; the API accepts only admin tokens.",
                actor=actor_name(record.subject, record.token_id),
            )
        if record.subject.startswith(RESERVED):
            # Issued before such subjects were refused. They own the idempotency keys of the
            # authority's own commands.
            raise UnauthenticatedError(
                f"the subject {RESERVED}… is reserved: issue another token.",
                actor=actor_name(record.subject, record.token_id),
            )
        return Admission(_actor(record), record, at_us)

    async def holder(self, bearer: str | None, *, address: str | None) -> Holder:
        """Return the holder that calls with this token, whatever its kind, scopes and audience.

        Raises UnauthenticatedError with the reason.
        """
        record, limits, at_us = await self._authenticate(bearer, "parent token")
        denied = find_denial(record, at_us)
        if denied is None and not record.conditions.admits(address):
            denied = verdict.Denied(verdict.Reason.WRONG_ADDRESS)
        self._remember_outcome(record.token_hash, refused=denied is not None)
        if denied is not None:
            raise not_accepted(denied.reason, "parent token", record)
        return Holder(record, limits)

    def _remember_outcome(self, token_hash: bytes, *, refused: bool) -> None:
        """Remember a refused token, or forget an accepted one."""
        self._refused.pop(token_hash, None)
        if refused:
            self._refused[token_hash] = None
            if len(self._refused) > _MAX_REFUSED:
                self._refused.popitem(last=False)

    async def _authenticate(
        self, bearer: str | None, what: str
    ) -> tuple[Record, DelegationLimits, int]:
        if bearer is None:
            raise UnauthenticatedError(
                f"send the {what} as `Authorization: Bearer <token>`.", sent=False
            )
        try:
            token = token_format.parse(bearer, prefix=self._prefix)
        except MalformedTokenError as error:
            raise UnauthenticatedError(f"the bearer is {error}.") from None
        # The tag costs microseconds: a flood of forgeries never reaches Postgres.
        if not token_format.genuine(token, self._edge_keys.accepted):
            raise not_accepted(verdict.Reason.UNKNOWN, what)
        found = await self._resolver.read_presented(bearer)
        if found.record is None or found.token is None:
            self._remember_outcome(token_format.digest(bearer), refused=True)
            raise not_accepted(verdict.Reason.UNKNOWN, what)
        return found.record, found.token.grant.limits, found.snapshot.at_us


def refreshed(actor: Actor, snapshot: Snapshot) -> Actor:
    """Return an actor as a later snapshot of its token shows it. Raises UnauthenticatedError."""
    return _actor(_read_again(actor, snapshot, "admin token"))


def require_accepted(earlier: Record, snapshot: Snapshot, what: str) -> None:
    """Raise UnauthenticatedError if a later snapshot of a token shows that it is not accepted."""
    _read_again(earlier, snapshot, what)


def _read_again(earlier: Actor | Record, snapshot: Snapshot, what: str) -> Record:
    for state in snapshot.tokens:
        record = record_of(state, snapshot)
        if (record.token_hash, record.token_id) == (earlier.token_hash, earlier.token_id):
            denied = find_denial(record, snapshot.at_us)
            if denied is not None:
                raise not_accepted(denied.reason, what, record)
            return record
    raise not_accepted(verdict.Reason.UNKNOWN, what)


def _actor(record: Record) -> Actor:
    return Actor(
        subject=record.subject,
        token_id=record.token_id,
        scopes=record.scopes,
        token_hash=record.token_hash,
        handles=frozenset(record.handles),
    )


async def require_right_to_hit(selector: Selector, actor: Actor, table: Tokens) -> None:
    """Raise ForbiddenError if a selector may hit admin tokens and the actor may not do that."""
    if Scope.ADMIN in actor.scopes:
        return
    wide = EVERYTHING in selector.handles
    if _ADMINS not in selector.handles and (
        wide or not await table.any_admin({*selector.handles, _ADMINS})
    ):
        return  # `*` spares admin tokens unless they are named
    actor.require(Scope.ADMIN, "a command that hits admin tokens")


def find_denial(record: Record, at_us: int) -> verdict.Denied | None:
    """Return why restrictions or the time deny a token, or None."""
    return verdict.judge_state(record) or verdict.timely(record, earliest_us=at_us, latest_us=at_us)


def not_accepted(
    reason: verdict.Reason, what: str, record: Record | None = None
) -> UnauthenticatedError:
    """Return the error for a token that is not accepted; `record` is its own, if it is known."""
    return UnauthenticatedError(
        f"the {what} is not accepted: {reason}.",
        actor=None if record is None else actor_name(record.subject, record.token_id),
    )
