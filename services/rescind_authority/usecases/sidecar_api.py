"""The requests of sidecars, as bytes: the same over NATS and over HTTP.

Every message of an enrolled instance is in an envelope with the instance's MAC, and so is every
answer to it. An empty answer means "not now"; for a look-up, "not now" also has an answer in an
envelope. The answer ENROL_AGAIN is not authenticated. It means that the MAC is of another epoch,
that the MAC is of no instance of this installation, or that the instance is no longer a member. The
signed answer to the instance's next enrolment request states which.
"""

from collections.abc import Awaitable
from dataclasses import dataclass, replace
from functools import partial

from rescind.core import instance_mac
from rescind.errors import MalformedMessageError, RescindError
from rescind.wire import heartbeat, lookups, recovery_offer, usage_report
from rescind.wire.heartbeat import ENROL_AGAIN, Heartbeat, Release
from rescind.wire.lookups import LookupRequest, LookupUnavailable
from rescind_authority.errors import LookupUnavailableError, NotEnrolledError
from rescind_authority.ports.keys import Keys
from rescind_authority.usecases.enforcement.acknowledgements import Acknowledgements
from rescind_authority.usecases.leases.enrol import Enroller
from rescind_authority.usecases.leases.grant import Granter
from rescind_authority.usecases.leases.instance_auth import AuthenticatedMessage, Instances
from rescind_authority.usecases.leases.membership import Membership
from rescind_authority.usecases.ledger.batcher import run_concurrently
from rescind_authority.usecases.ledger.recent_events import RecentEvents
from rescind_authority.usecases.ledger.recovery import Recovery
from rescind_authority.usecases.lookups.resolver import LookupResult, Resolver
from rescind_authority.usecases.lookups.reuse_detection import PresentedToken
from rescind_authority.usecases.tokens.last_used import Usage

EMPTY = b""


class SidecarApi:
    """Handle requests of sidecars. Each method raises RescindError for "not now"."""

    def __init__(
        self,
        *,
        granter: Granter,
        resolver: Resolver,
        recent: RecentEvents,
        enroller: Enroller,
        instances: Instances,
        membership: Membership,
        keys: Keys,
        usage: Usage,
        acknowledgements: Acknowledgements,
        recovery: Recovery,
    ) -> None:
        self._granter = granter
        self._resolver = resolver
        self._recent = recent
        self._enroller = enroller
        self._instances = instances
        self._membership = membership
        self._keys = keys
        self._usage = usage
        self._acknowledgements = acknowledgements
        self._recovery = recovery

    async def enrol(self, payload: bytes) -> bytes:
        """Return the answer to an enrolment request; a grant contains the encrypted secret."""
        return await self._enroller.answer(payload)

    async def heartbeat(self, payload: bytes) -> bytes:
        """Grant a lease, or record a release."""
        try:
            received = self._instances.open(payload)
        except NotEnrolledError:
            return ENROL_AGAIN
        message = heartbeat.decode(received.content)
        if message.instance != received.instance:
            raise MalformedMessageError("heartbeat", "it names another instance")
        try:
            # Before G1: an accepted instance sent its request before the end of its membership was
            # committed.
            if isinstance(message, Heartbeat):
                await self._membership.verify_heartbeat(message)
            else:
                await self._membership.require(received.instance)
        except NotEnrolledError:
            return ENROL_AGAIN
        reply = await self._granter.answer(message)
        if reply is None:
            return EMPTY
        if isinstance(reply, heartbeat.NoLease):
            return self._instances.authenticated(received, heartbeat.encode_no_lease(reply))
        # A sidecar thus has a new key before anything is signed with it. If a sidecar reports which
        # statement it uses, it receives a newer one with the lease: every holder of a lease has it.
        reply = replace(
            reply,
            trust_serial=self._keys.serial,
            statement=self._statement_for(message),
            enrol_again=received.outdated,
        )
        return self._instances.authenticated(received, heartbeat.encode_reply(reply))

    def _statement_for(self, message: Heartbeat | Release) -> bytes:
        known = message.trust_serial if isinstance(message, Heartbeat) else None
        return b"" if known in {None, self._keys.serial} else self._keys.statement

    async def since(self, payload: bytes) -> bytes:
        """Return the events that an instance is missing."""
        try:
            received = self._instances.open(payload)
            await self._membership.require(received.instance)
        except NotEnrolledError:
            return ENROL_AGAIN
        request = heartbeat.decode_since(received.content)
        event_range = await self._recent.read(request.seq)
        payloads = event_range.payloads if event_range.epoch == request.epoch else ()
        answer = heartbeat.encode_events(heartbeat.Events(event_range.epoch, payloads))
        return self._instances.authenticated(received, answer)

    async def offer(self, payload: bytes) -> bytes:
        """Recover the events that a restored ledger lost."""
        try:
            received = self._instances.open(payload)
            await self._membership.require(received.instance)
        except NotEnrolledError:
            return ENROL_AGAIN
        offered = recovery_offer.decode(received.content)
        if offered.instance != received.instance:
            raise MalformedMessageError("offer", "it names another instance")
        taken = recovery_offer.OfferAnswer(wanted=await self._recovery.recover(offered.batch))
        return self._instances.authenticated(received, recovery_offer.encode_offer_answer(taken))

    def used(self, payload: bytes) -> None:
        """Store a report of tokens in use. Raises RescindError."""
        received = self._instances.open(payload)
        report = usage_report.decode(received.content)
        if report.instance == received.instance:
            self._usage.collect(report)

    def ack(self, payload: bytes) -> None:
        """Store an acknowledgement. Raises RescindError."""
        received = self._instances.open(payload)
        ack = heartbeat.decode_ack(received.content)
        if ack.instance == received.instance:
            self._acknowledgements.record(ack)

    async def look_up(self, payload: bytes) -> bytes:
        """Return the record of a token, or the answer that there is none.

        Raises LookupUnavailableError, which contains the reply for the instance.
        """
        try:
            lookup = self._open_lookup(payload)
        except NotEnrolledError:
            return ENROL_AGAIN
        # Concurrently: a cold look-up waits for both. Its possession proof counts only from a
        # member.
        member, found = await run_concurrently(
            (
                partial[Awaitable[object]](self._membership.require, lookup.received.instance),
                partial[Awaitable[object]](self._resolver.read, lookup.token_hash),
            )
        )
        if isinstance(member, NotEnrolledError):
            return ENROL_AGAIN
        if isinstance(member, RescindError) or not isinstance(found, LookupResult):
            raise LookupUnavailableError(self._encode_unavailable(lookup))
        answer = self._resolver.encode_answer(found, lookup.presented)
        answer = replace(answer, nonce=lookup.nonce, token_hash=lookup.token_hash)
        return self._instances.authenticated(lookup.received, lookups.encode_answer(answer))

    def answer_unavailable(self, payload: bytes) -> bytes:
        """Return the reply that a look-up cannot be answered now.

        Return empty bytes if no instance of ours sent the look-up.
        """
        try:
            return self._encode_unavailable(self._open_lookup(payload))
        except RescindError:
            return EMPTY

    def _open_lookup(self, payload: bytes) -> "_OpenLookup":
        """Open a look-up. Raises NotEnrolledError, or MalformedMessageError."""
        try:
            received = self._instances.open(payload)
        except MalformedMessageError as error:
            raise MalformedMessageError(
                "look-up",
                f"it is not in the envelope of an instance ({error}): its sender is not enrolled, "
                "or is a sidecar of an older version, which must be upgraded",
            ) from error
        request = lookups.decode_request(received.content)
        if request.nonce is None:
            raise MalformedMessageError("look-up", "it has no nonce")
        return _OpenLookup(
            received, request.token_hash, request.nonce, _presented(received, request)
        )

    def _encode_unavailable(self, lookup: "_OpenLookup") -> bytes:
        answer = lookups.encode_unavailable(LookupUnavailable(lookup.nonce, lookup.token_hash))
        return self._instances.authenticated(lookup.received, answer)


def _presented(received: AuthenticatedMessage, request: LookupRequest) -> PresentedToken | None:
    shown = request.presented
    if shown is None or request.nonce is None:
        return None
    possession = instance_mac.mask(received.secret, request.nonce, shown.proof)
    return PresentedToken(possession, shown.seq, shown.at_us)


@dataclass(frozen=True, slots=True, repr=False)
class _OpenLookup:
    """A look-up whose MAC was verified."""

    received: AuthenticatedMessage
    token_hash: bytes
    nonce: bytes
    presented: PresentedToken | None
