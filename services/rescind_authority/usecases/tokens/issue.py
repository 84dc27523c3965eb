"""Issue a token: mint it, store its hash, show it once."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rescind.core import handles, well_known_scopes
from rescind.core.delegation import Right
from rescind.core.handles import Handle
from rescind.core.record import Record
from rescind.core.token_format import Kind
from rescind.core.well_known_scopes import AUDIENCE
from rescind_authority.errors import InvalidRequestError
from rescind_authority.ports.enrolments import Binding
from rescind_authority.ports.ledger import IdempotentRequest, Key, LedgerTransaction, Transactions
from rescind_authority.ports.token_grant import TokenGrant
from rescind_authority.ports.tokens import IssuanceSnapshot, IssueTimes, NewToken
from rescind_authority.usecases.access.authoriser import (
    Actor,
    actor_name,
    refreshed,
    require_accepted,
)
from rescind_authority.usecases.access.held_scopes import GrantedPermissions, require_held
from rescind_authority.usecases.tokens.new_token import (
    Minted,
    NewSecret,
    Repeated,
    TokenGenerator,
    require_no_revocation,
    store_once,
)
from rescind_authority.usecases.validation import FieldErrors, too_many_names


@dataclass(frozen=True, slots=True)
class IssueCommand:
    """A token that a caller requests, before validation.

    `not_before_us` is Unix microseconds.
    """

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
    self_service: Sequence[Right] | None = None
    max_overlap_s: float | None = None
    reuse_denies: bool = False
    idle_s: float | None = None


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """The limits of sessions.

    `idle_s` is the time in seconds without a use after which a session ends, unless its issuer sets
    another; 0 means never. `most` is the number of sessions that a subject may have; 0 means any
    number.
    """

    idle_s: float = 0
    most: int = 0


_NO_LIMITS = SessionLimits()


class Issuer:
    """Issue tokens that have no parent.

    `on_sessions_ended` is called after the end of a session was set: the event of that end is due.
    """

    def __init__(
        self,
        transactions: Transactions,
        *,
        mint: TokenGenerator,
        limits: SessionLimits = _NO_LIMITS,
        on_sessions_ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._transactions = transactions
        self._mint = mint
        self._limits = limits
        self._on_sessions_ended = on_sessions_ended

    async def issue(
        self,
        command: IssueCommand,
        *,
        actor: Actor,
        idempotency: IdempotentRequest,
        then: Callable[[LedgerTransaction, NewToken], Awaitable[None]] | None = None,
    ) -> Minted | Repeated:
        """Issue the requested token, once for each idempotency key.

        `then` continues the transaction after the token was stored.

        Raises InvalidRequestError, ForbiddenError, UnauthenticatedError, StandingRevocationError,
        KeyReusedError, or the store's errors.
        """
        new_secret, token, ttl_us = self._prepare(
            command, actor=actor.subject, issued_by=actor.name
        )
        permissions = GrantedPermissions(token.grant.kind, token.grant.scopes, token.grant.audience)
        require_held(actor, permissions, "issuing")

        async def authorise(transaction: LedgerTransaction) -> None:
            now = refreshed(actor, await transaction.read_presented(actor.token_hash))
            require_held(now, permissions, "issuing")

        return await self._store(
            new_secret, token, ttl_us, idempotency=idempotency, authorise=authorise, then=then
        )

    async def issue_to_client(
        self, command: IssueCommand, *, credential: Record, idempotency: IdempotentRequest
    ) -> Minted | Repeated:
        """Issue the requested token to an OAuth client, unless its credential has ended.

        Raises InvalidRequestError, UnauthenticatedError, StandingRevocationError, KeyReusedError,
        or the store's errors.
        """
        new_secret, token, ttl_us = self._prepare(
            command,
            actor=credential.subject,
            issued_by=actor_name(credential.subject, credential.token_id),
        )

        async def authorise(transaction: LedgerTransaction) -> None:
            snapshot = await transaction.read_presented(credential.token_hash)
            require_accepted(credential, snapshot, "client's credential")

        return await self._store(
            new_secret, token, ttl_us, idempotency=idempotency, authorise=authorise
        )

    async def _store(
        self,
        new_secret: NewSecret,
        token: NewToken,
        ttl_us: int,
        *,
        idempotency: IdempotentRequest,
        authorise: Callable[[LedgerTransaction], Awaitable[None]],
        then: Callable[[LedgerTransaction, NewToken], Awaitable[None]] | None = None,
    ) -> Minted | Repeated:
        """Store a token once for each idempotency key, if `authorise` does not raise."""
        ended = 0

        async def store(transaction: LedgerTransaction) -> Minted:
            nonlocal ended
            bounded = token.grant.kind is Kind.SESSION and self._limits.most > 0
            if bounded:
                # Lock before counting: two concurrent logins would each leave room for one.
                await transaction.lock_sessions(token.grant.subject)
            issuance = await transaction.read_issuance(None, token.grant.handles)
            removed = require_no_revocation(issuance, token.grant.handles)
            # After the issuance snapshot: an end of the issuer is seen here, or is above
            # issued_seq.
            await authorise(transaction)
            issued = _issue_times(issuance, ttl_us)
            if bounded:
                ended = await transaction.end_surplus(
                    token.grant.subject, keep=self._limits.most - 1
                )
            await transaction.insert_token(token, issued)
            if then is not None:
                await then(transaction, token)
            return Minted(new_secret.secret, token, issued, removed)

        outcome = await store_once(self._transactions, idempotency, store)
        if ended:
            self._on_sessions_ended()
        return outcome

    async def make_admin(self, command: IssueCommand, *, actor: str) -> Minted:
        """Issue a token for the owner of the host, without a token that authorises it."""
        new_secret, token, ttl_us = self._prepare(command, actor=actor, issued_by=actor)
        async with self._transactions.begin() as transaction:
            # Written before the issuance snapshot is read, as by `store_once`: the sweep waits for
            # it.
            key = Key(actor, token.grant.token_id)
            await transaction.lock_keys([IdempotentRequest(key, token.token_hash)])
            issued = _issue_times(
                await transaction.read_issuance(None, token.grant.handles), ttl_us
            )
            await transaction.insert_token(token, issued)
            await transaction.store_answers({key: token.grant.token_id})
        return Minted(new_secret.secret, token, issued)

    def _prepare(
        self, command: IssueCommand, *, actor: str, issued_by: str
    ) -> tuple[NewSecret, NewToken, int]:
        """Validate a command; return a new secret, the token to store, and its lifetime in µs."""
        field_errors = FieldErrors()
        new_secret = self._mint.generate(command.kind)
        grant = _validate_grant(command, field_errors, token_id=new_secret.token_id, actor=actor)
        sidecars = field_errors.sidecars(command.sidecars, grant.scopes)
        ttl_us = field_errors.ttl_us(command.ttl_s)
        idle_us = field_errors.idle_us(command.idle_s, command.kind, default_s=self._limits.idle_s)
        field_errors.name("created_by", actor)
        ends_us = self._mint.clock.wall_us() + ttl_us
        if command.not_before_us is not None and not 0 < command.not_before_us < ends_us:
            field_errors.add("not_before", "expected a time before the token's end (now + ttl)")
        field_errors.raise_if_any()
        grant = replace(grant, handles=_handles_of(grant), idle_us=idle_us)
        problem = too_many_names(grant)
        if problem is not None:
            raise InvalidRequestError(problem)
        token = NewToken(
            token_hash=new_secret.token_hash,
            grant=grant,
            issued_by=issued_by,
            sidecars=sidecars,
            possession_hash=new_secret.possession_hash,
        )
        return new_secret, token, ttl_us


def _validate_grant(
    command: IssueCommand, field_errors: FieldErrors, *, token_id: str, actor: str
) -> TokenGrant:
    """Validate the fields of a grant. The result has no handles and no idle time yet."""
    subject = field_errors.root_subject(command.subject, command.kind)
    scopes = field_errors.scopes(command.scopes)
    audience = field_errors.audience(command.audience)
    return TokenGrant(
        token_id=token_id,
        kind=command.kind,
        subject=subject,
        scopes=scopes,
        # An admin token is valid here; without an audience it would be valid everywhere.
        audience=audience or ((AUDIENCE,) if command.kind is Kind.ADMIN else ()),
        labels=field_errors.labels(command.labels),
        tenant=field_errors.name("tenant", command.tenant),
        client=field_errors.name("client", command.client),
        session=field_errors.name("session", command.session),
        conditions=field_errors.conditions(command.addresses, command.verifier),
        device=field_errors.device(command.user_agent, command.address),
        limits=field_errors.credential(
            subject,
            command.kind,
            scopes=scopes,
            audience=audience,
            limits=field_errors.policy(
                field_errors.limits(command.may_speak_for, command.max_depth),
                command.self_service,
                max_overlap_s=command.max_overlap_s,
                reuse_denies=command.reuse_denies,
            ),
        ),
        handles=(),
        lineage=(),
        chain=(),
        not_before_us=command.not_before_us,
        created_by=actor,
    )


def _handles_of(grant: TokenGrant) -> tuple[Handle, ...]:
    """Return the handles of a token that is not delegated."""
    return handles.of_token(
        token_id=grant.token_id,
        kind=grant.kind,
        subject=grant.subject,
        tenant=grant.tenant,
        client=grant.client,
        session=grant.session,
        labels=grant.labels,
        created_by=grant.created_by,
        credential=well_known_scopes.is_credential(grant.scopes),
    )


def _issue_times(issuance: IssuanceSnapshot, ttl_us: int) -> IssueTimes:
    at_us = issuance.snapshot.at_us
    return IssueTimes(at_us, issuance.snapshot.as_of, at_us + ttl_us)
