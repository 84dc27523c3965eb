"""The messages of a sidecar to the authority, over any transport (port AuthorityLink).

Every message of an instance carries its MAC, and an answer is accepted only with that MAC. The
answer to an enrolment is signed instead, and each record has its own signature. The answer to a
look-up also contains its nonce: "unknown" is accepted from an authority alone, and for this look-up
alone.
"""

from collections.abc import Callable
from typing import TypeVar

from rescind.core import instance_mac, lease
from rescind.errors import MalformedMessageError, UnreachableError
from rescind.wire import (
    enrolment,
    heartbeat,
    lookups,
    nats_subjects,
    recovery_offer,
    signed_envelope,
    usage_report,
)
from rescind.wire.heartbeat import ENROL_AGAIN
from rescind.wire.lookups import LookupAnswer, LookupUnavailable
from rescind.wire.signed_envelope import SignedEnvelope
from rescind_sidecar.link.transport import AuthorityBusyError, Transport
from rescind_sidecar.ports import InstanceCredentials, UnknownInstanceError
from rescind_sidecar.stats.counters import Counters

_HEARTBEAT_S = 1.5
_SHORTEST_HEARTBEAT_S = 0.3
_LOOKUP_S = 0.5
_ENROL_S = 3.0

_T = TypeVar("_T")


class AuthorityClient:
    """Send the sidecar's requests to the authority (port AuthorityLink)."""

    def __init__(self, transport: Transport, tally: Counters) -> None:
        self._transport = transport
        self._heartbeat_timeout_s = _HEARTBEAT_S
        self._tally = tally

    async def enrol(self, message: enrolment.EnrolmentRequest) -> SignedEnvelope:
        """Request an instance's secret; the caller verifies the signature of the answer."""
        payload = enrolment.encode_request(message)
        answer = await self._transport.request(nats_subjects.ENROL, payload, timeout_s=_ENROL_S)
        return _read(signed_envelope.decode, answer)

    async def beat(
        self, message: heartbeat.Heartbeat, credentials: InstanceCredentials
    ) -> heartbeat.Reply | heartbeat.NoLease:
        """Request a lease; the deadline depends on the lease term in the previous answer."""
        answer = await self._request(
            nats_subjects.HEARTBEAT,
            heartbeat.encode(message),
            credentials,
            timeout_s=self._heartbeat_timeout_s,
        )
        reply = _read(heartbeat.decode_answer, answer)
        if isinstance(reply, heartbeat.Reply):
            pause_s = lease.longest_pause_s(reply.grant_term_ms)
            # A lost heartbeat must leave time for another one. A busy authority needs time, too.
            self._heartbeat_timeout_s = min(_HEARTBEAT_S, max(_SHORTEST_HEARTBEAT_S, pause_s))
        return reply

    async def since(
        self, message: heartbeat.Since, credentials: InstanceCredentials
    ) -> heartbeat.Events:
        """Request missing events."""
        answer = await self._request(
            nats_subjects.SINCE, heartbeat.encode_since(message), credentials
        )
        return _read(heartbeat.decode_events, answer)

    async def look_up(
        self, message: lookups.LookupRequest, credentials: InstanceCredentials
    ) -> LookupAnswer:
        """Request the record of a token; ignore answers without a MAC for this look-up."""
        matched: LookupAnswer | None = None

        def accept(answer: bytes) -> bool:
            nonlocal matched
            reply = _match_reply(message, credentials, answer)
            if isinstance(reply, LookupUnavailable):
                raise AuthorityBusyError(nats_subjects.RESOLVE)
            matched = reply
            self._tally.messages_refused += reply is None
            return reply is not None

        payload = _authenticate(lookups.encode_request(message), credentials)
        await self._transport.request(
            nats_subjects.RESOLVE, payload, timeout_s=_LOOKUP_S, accept=accept
        )
        if matched is None:
            raise UnreachableError("no authority of this installation answered a look-up")
        return matched

    async def acknowledge(self, message: heartbeat.Ack, credentials: InstanceCredentials) -> None:
        """Report that events are applied."""
        await self._transport.send(
            nats_subjects.ACK, _authenticate(heartbeat.encode_ack(message), credentials)
        )

    async def release(self, message: heartbeat.Release, credentials: InstanceCredentials) -> None:
        """Report that the instance has ended."""
        await self._transport.send(
            nats_subjects.HEARTBEAT, _authenticate(heartbeat.encode(message), credentials)
        )

    async def used(self, message: usage_report.Used, credentials: InstanceCredentials) -> None:
        """Report which tokens are in use."""
        await self._transport.send(
            nats_subjects.USED, _authenticate(usage_report.encode(message), credentials)
        )

    async def offer(
        self, message: recovery_offer.Offer, credentials: InstanceCredentials
    ) -> recovery_offer.OfferAnswer:
        """Offer events that a restored ledger may have lost."""
        return _read(
            recovery_offer.decode_offer_answer,
            await self._request(nats_subjects.OFFER, recovery_offer.encode(message), credentials),
        )

    async def _request(
        self,
        subject: str,
        content: bytes,
        credentials: InstanceCredentials,
        *,
        timeout_s: float = _HEARTBEAT_S,
    ) -> bytes:
        payload = _authenticate(content, credentials)
        answer = await self._transport.request(subject, payload, timeout_s=timeout_s)
        if answer == ENROL_AGAIN:
            raise UnknownInstanceError
        content_of_answer = _open(_read(signed_envelope.decode, answer), credentials)
        if content_of_answer is None:
            raise UnreachableError(f"the answer to {subject} does not carry our MAC")
        return content_of_answer


def _authenticate(content: bytes, credentials: InstanceCredentials) -> bytes:
    tag = instance_mac.tag(credentials.secret, instance_mac.TO_AUTHORITY, content)
    return signed_envelope.encode(SignedEnvelope(content, credentials.instance, tag))


def _open(envelope: SignedEnvelope, credentials: InstanceCredentials) -> bytes | None:
    """Return an envelope's content if it is for this instance and carries its MAC, else None."""
    ours = envelope.key_id == credentials.instance and instance_mac.genuine(
        credentials.secret, instance_mac.TO_SIDECAR, envelope.content, envelope.signature
    )
    return envelope.content if ours else None


def _match_reply(
    request: lookups.LookupRequest, credentials: InstanceCredentials, answer: bytes
) -> LookupAnswer | LookupUnavailable | None:
    """Return an authority's answer to this look-up, or None for any other message."""
    try:
        content = _open(signed_envelope.decode(answer), credentials)
        reply = None if content is None else lookups.decode_reply(content)
    except MalformedMessageError:
        return None
    if reply is None or (reply.nonce, reply.token_hash) != (
        request.nonce,
        request.token_hash,
    ):
        return None
    return reply


def _read(decode: Callable[[bytes], _T], answer: bytes) -> _T:
    """Decode an answer. Raises UnreachableError for a malformed one."""
    try:
        return decode(answer)
    except MalformedMessageError as error:
        raise UnreachableError(f"the authority's answer cannot be read: {error}") from error
