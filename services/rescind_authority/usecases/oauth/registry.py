"""Add, rotate, list and remove OAuth clients."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from rescind.core import well_known_scopes
from rescind.core.handles import select
from rescind.core.revocation import Effect, Revocation
from rescind.core.secret import Secret
from rescind.core.token_format import Kind
from rescind.core.well_known_scopes import AUDIENCE, CLIENT, INTROSPECT
from rescind_authority.errors import (
    AlteredClientError,
    ClientExistsError,
    NotFoundError,
    TokenMovedError,
)
from rescind_authority.ports.clients import Clients, StoredClient
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.keys import Entropy
from rescind_authority.ports.ledger import CommittedEvent, IdempotentRequest, LedgerTransaction
from rescind_authority.ports.tokens import NewToken, TokenRecords
from rescind_authority.usecases.access.authoriser import Actor, Scope, find_denial
from rescind_authority.usecases.access.held_scopes import GrantedPermissions, require_held
from rescind_authority.usecases.ledger import new_ids
from rescind_authority.usecases.ledger.sequencer import LedgerCommand, Sequencer
from rescind_authority.usecases.lookups.resolver import record_of
from rescind_authority.usecases.oauth import key_sets, registration
from rescind_authority.usecases.oauth.registration import LABEL, SUBJECT, GrantType, Registration
from rescind_authority.usecases.tokens.issue import IssueCommand, Issuer
from rescind_authority.usecases.tokens.new_token import Minted, Repeated
from rescind_authority.usecases.tokens.rotate_and_expire import ExpireCommand, TokenChanger
from rescind_authority.usecases.validation import MAX_TTL_S, FieldErrors

MAX_PAGE = 1_000
MAX_TOKEN_TTL_S = 24 * 3_600
"""The longest lifetime of a client's tokens: a client can request another at any time."""

_US_PER_S = 1_000_000
_CLIENT_ID = re.compile(well_known_scopes.SERVICE)


@dataclass(frozen=True, slots=True)
class AddCommand:
    """A client that an administrator adds, before validation."""

    client_id: str
    grants: Collection[GrantType]
    scopes: Collection[str]
    audience: Collection[str]
    kind: Kind
    ttl_s: float
    tenant: str | None
    introspect: bool
    jwks: dict[str, Any] | None


class ClientState(StrEnum):
    """The state of a client."""

    ACTIVE = "active"
    ENDED = "ended"  # its credential was revoked, suspended, or has expired
    ALTERED = "altered"  # its row is not as an authority wrote it


@dataclass(frozen=True, slots=True)
class RegisteredClient:
    """A client, its registration and its state. Times are Unix µs.

    An altered client has no registration: what its row contains is not trusted. Its credential
    was issued at `issued_at_us`, and expires at `expires_at_us`; 0 if that is not known.
    """

    stored: StoredClient
    registration: Registration
    state: ClientState
    issued_at_us: int
    expires_at_us: int


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A client with a new credential. `secret` is None for a repeat, and for one with keys."""

    client: RegisteredClient
    secret: Secret | None


class ClientRegistry:
    """Add, rotate, list and remove clients, for administrators."""

    def __init__(
        self,
        clients: Clients,
        *,
        issuer: Issuer,
        changer: TokenChanger,
        sequencer: Sequencer,
        records: TokenRecords,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._clients = clients
        self._issuer = issuer
        self._changer = changer
        self._sequencer = sequencer
        self._records = records
        self._clock = clock
        self._entropy = entropy

    async def add(
        self, command: AddCommand, *, actor: Actor, idempotency: IdempotentRequest
    ) -> NewCredential:
        """Add a client, once for each idempotency key.

        Raises InvalidRequestError, ForbiddenError, ClientExistsError, or the issuer's errors.
        """
        requested = _validate(command)
        return await self._issue(
            command.client_id, requested, replaces=None, actor=actor, idempotency=idempotency
        )

    async def rotate(
        self,
        client_id: str,
        *,
        overlap_s: float,
        jwks: dict[str, Any] | None,
        actor: Actor,
        idempotency: IdempotentRequest,
    ) -> NewCredential:
        """Replace a client's secret or keys. The old secret lives for the overlap.

        Without an overlap, all secrets of the client end, also those in the overlap of an earlier
        rotation.

        Raises NotFoundError, AlteredClientError, InvalidRequestError, ForbiddenError, or the
        issuer's errors.
        """
        client = await self.get(client_id)
        if client.state is ClientState.ALTERED:
            raise AlteredClientError(client_id)
        requested = _with_keys(client.registration, overlap_s, jwks)
        command = _credential(client_id, requested)
        permissions = GrantedPermissions(command.kind, command.scopes, command.audience)
        require_held(actor, permissions, "rotating the credential of a client")
        # First: if the next step fails, the old secret ends nevertheless, and a repeat completes
        # it. Under its own key, so a repeat of the whole does not end the new credential.
        await self._end(client, overlap_s, actor, _derive(idempotency, "end"))
        return await self._issue(
            client_id,
            requested,
            replaces=client.stored.credential,
            actor=actor,
            idempotency=idempotency,
        )

    async def get(self, client_id: str) -> RegisteredClient:
        """Return a client. Raises NotFoundError."""
        stored = await self._read(client_id)
        return (await self._describe([stored]))[0]

    async def list(self, *, after: str, limit: int) -> Sequence[RegisteredClient]:
        """List the clients after an id, in the order of their ids."""
        return await self._describe(await self._clients.list_clients(after, limit=limit))

    async def remove(
        self, client_id: str, *, reason: str, actor: Actor, idempotency: IdempotentRequest
    ) -> Sequence[CommittedEvent]:
        """Remove a client, and revoke its credentials and all its tokens.

        Raises NotFoundError, InvalidRequestError, or the sequencer's errors.
        """
        field_errors = FieldErrors()
        reason = field_errors.reason(reason)
        field_errors.raise_if_any()
        stored: StoredClient | None = await self._read(client_id)
        committed: list[CommittedEvent] = []
        while stored is not None:
            credential = stored.credential
            # In this order: a token that is issued between the two is hit by the second.
            committed = [
                await self._revoke(
                    (handle,),
                    reason or "client removed",
                    actor,
                    _derive(idempotency, f"{end} {credential}"),
                )
                for handle, end in (
                    (f"subject:{SUBJECT}{client_id}", "credentials"),
                    (f"client:{client_id}", "tokens"),
                )
            ]
            if await self._clients.remove_client(
                client_id, credential=credential, actor=actor.name
            ):
                break
            # It was rotated meanwhile: the revocations may precede its new credential.
            stored = await self._clients.read_client(client_id)
        return committed

    async def _read(self, client_id: str) -> StoredClient:
        known = _CLIENT_ID.fullmatch(client_id)  # else the store may refuse its characters
        stored = await self._clients.read_client(client_id) if known else None
        if stored is None:
            raise NotFoundError("client", client_id)
        return stored

    async def _issue(
        self,
        client_id: str,
        requested: Registration,
        *,
        replaces: str | None,
        actor: Actor,
        idempotency: IdempotentRequest,
    ) -> NewCredential:
        document = requested.encode()

        async def put(transaction: LedgerTransaction, token: NewToken) -> None:
            client = StoredClient(client_id, token.grant.token_id, document, actor.subject)
            if not await transaction.put_client(client, replaces=replaces, actor=actor.name):
                raise ClientExistsError(client_id)

        outcome = await self._issuer.issue(
            _credential(client_id, requested), actor=actor, idempotency=idempotency, then=put
        )
        client = await self.get(client_id)
        match outcome:
            case Minted(secret) if requested.jwks is None:
                return NewCredential(client, secret)
            case Minted() | Repeated():
                return NewCredential(client, None)

    async def _end(
        self,
        client: RegisteredClient,
        overlap_s: float,
        actor: Actor,
        idempotency: IdempotentRequest,
    ) -> None:
        stored = client.stored
        if not overlap_s:
            # The label is that of all credentials which are accepted with this registration. Later
            # ones are spared: another rotation at the same time may have issued one.
            handles = (
                f"subject:{SUBJECT}{stored.client_id}",
                f"label:{LABEL}={registration.fingerprint(stored.registration)}",
            )
            before_us = client.issued_at_us + 1
            await self._revoke(handles, "client rotated", actor, idempotency, before_us=before_us)
            return
        at_us = self._clock.wall_us() + round(overlap_s * _US_PER_S)
        try:
            await self._changer.expire(
                ExpireCommand(stored.credential, at_us, "client rotated"),
                # An administrator of clients may end their credentials.
                actor=replace(actor, scopes=actor.scopes | {Scope.REVOKE}),
                idempotency=idempotency,
            )
        except TokenMovedError:
            return  # it has ended

    async def _revoke(
        self,
        handles: Sequence[str],
        reason: str,
        actor: Actor,
        idempotency: IdempotentRequest,
        *,
        before_us: int | None = None,
    ) -> CommittedEvent:
        """Revoke what has all of these handles; with `before_us`, what was issued before, alone."""
        exact = before_us is not None
        revocation = Revocation(
            revocation_id=new_ids.generate("rev", self._clock, self._entropy),
            selector=select(handles, exact=exact),
            effect=Effect.REVOKE,
            reason=reason,
            actor=actor.name,
            issued_before_us=before_us,
        )
        return await self._sequencer.commit(LedgerCommand(idempotency, revocation, exact=exact))

    async def _describe(self, stored: Sequence[StoredClient]) -> Sequence[RegisteredClient]:
        snapshot = await self._records.by_id([each.credential for each in stored])
        credentials = {
            state.token.grant.token_id: record_of(state, snapshot) for state in snapshot.tokens
        }
        described: list[RegisteredClient] = []
        for each in stored:
            credential = credentials.get(each.credential)
            registered = registration.NOTHING
            if credential is None or not registration.covers(
                credential, each.client_id, each.registration
            ):
                state = ClientState.ALTERED
            elif find_denial(credential, snapshot.at_us) is not None:
                state = ClientState.ENDED
            else:
                state = ClientState.ACTIVE
            if state is not ClientState.ALTERED:
                registered = registration.decode(each.registration)
            described.append(
                RegisteredClient(
                    each,
                    registered,
                    state,
                    0 if credential is None else credential.issued_at_us,
                    0 if credential is None else credential.expires_at_us,
                )
            )
        return described


def _validate(command: AddCommand) -> Registration:
    """Return the registration that a command requests. Raises InvalidRequestError."""
    field_errors = FieldErrors()
    if not _CLIENT_ID.fullmatch(command.client_id):
        field_errors.add("client_id", "expected 1 to 63 letters, digits and . _ -, such as billing")
    scopes, audience = (
        field_errors.scopes(command.scopes),
        field_errors.audience(command.audience),
    )
    for scope in filter(well_known_scopes.own, scopes):
        field_errors.add(
            "scopes", f"{scope} grants permissions over rescind itself: use an admin token"
        )
    if AUDIENCE in audience:
        field_errors.add("audience", f"{AUDIENCE} is the authority: name services")
    if not (command.grants or command.introspect):
        field_errors.add("grants", "expected a grant, or `introspect`")
    if GrantType.CLIENT_CREDENTIALS in command.grants and not scopes:
        field_errors.add("scopes", "expected the scopes that the client may request")
    if command.kind not in {Kind.SERVICE, Kind.AGENT}:
        field_errors.add("kind", "expected service or agent")
    if not 0 < command.ttl_s <= MAX_TOKEN_TTL_S or command.ttl_s != int(command.ttl_s):
        field_errors.add("ttl", f"expected whole seconds, 1 to {MAX_TOKEN_TTL_S} (24 hours)")
    tenant = field_errors.name("tenant", command.tenant)
    field_errors.raise_if_any()
    return Registration(
        grants=tuple(sorted(set(command.grants))),
        scopes=scopes,
        audience=audience,
        kind=command.kind,
        ttl_s=int(command.ttl_s),
        tenant=tenant,
        introspect=command.introspect,
        jwks=None if command.jwks is None else key_sets.validate(command.jwks),
    )


def _with_keys(
    registered: Registration, overlap_s: float, jwks: dict[str, Any] | None
) -> Registration:
    """Return a registration with other keys, or the same one. Raises InvalidRequestError."""
    field_errors = FieldErrors()
    if not 0 <= overlap_s <= MAX_TTL_S:
        field_errors.add("overlap", f"expected seconds, from 0 to {MAX_TTL_S} (366 days)")
    if jwks is None and registered.jwks is not None:
        field_errors.add("jwks", "this client has keys and no secret: send its new keys")
    if jwks is not None and registered.jwks is None:
        field_errors.add("jwks", "this client has a secret and no keys: remove it, and add another")
    if jwks is not None and overlap_s:
        field_errors.add("overlap", "for a secret: send a key set with the old and the new key")
    field_errors.raise_if_any()
    return registered if jwks is None else replace(registered, jwks=key_sets.validate(jwks))


def _credential(client_id: str, requested: Registration) -> IssueCommand:
    """Return the command that issues a client's credential, which is good at the authority."""
    return IssueCommand(
        subject=SUBJECT + client_id,
        kind=Kind.SERVICE,
        scopes=(CLIENT, INTROSPECT) if requested.introspect else (CLIENT,),
        audience=(AUDIENCE,),
        ttl_s=MAX_TTL_S,
        labels={LABEL: registration.fingerprint(requested.encode())},
        tenant=requested.tenant,
        self_service=(),
    )


def _derive(idempotency: IdempotentRequest, step: str) -> IdempotentRequest:
    """Return the key of one step of a request."""
    key = idempotency.key
    return IdempotentRequest(replace(key, key=f"{key.key}#{step}"), idempotency.body_hash)
