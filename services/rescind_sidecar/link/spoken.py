"""What a sidecar says to the authority, over any transport (port Link).

Everything that an instance says carries its MAC, and an answer is believed only under it; an
enrolment's answer is signed instead, and a record is signed by itself.
"""

from collections.abc import Callable
from typing import TypeVar

from rescind.core import lease, mac
from rescind.errors import MalformedMessageError, UnreachableError
from rescind.wire import enrolment, heartbeat, offer, records, sealed, subjects, used
from rescind.wire.heartbeat import ENROL_AGAIN
from rescind.wire.sealed import Sealed
from rescind_sidecar.link.transport import Transport
from rescind_sidecar.ports import NotEnrolledError, Voice

_HEARTBEAT_S = 1.5
_SHORTEST_HEARTBEAT_S = 0.3
_LOOK_S = 0.5
_ENROL_S = 3.0

_T = TypeVar("_T")


class SpokenLink:
    """Speak to the authority."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._patience_s = _HEARTBEAT_S

    async def enrol(self, message: enrolment.Request) -> Sealed:
        """Ask for an instance's secret; the caller checks who signed the answer."""
        payload = enrolment.encode_request(message)
        answer = await self._transport.ask(subjects.ENROL, payload, timeout_s=_ENROL_S)
        return _read(sealed.decode, answer)

    async def beat(
        self, message: heartbeat.Heartbeat, voice: Voice
    ) -> heartbeat.Reply | heartbeat.NoLease:
        """Ask for a lease; the deadline follows the term that the answer before this one told."""
        answer = await self._converse(
            subjects.HEARTBEAT, heartbeat.encode(message), voice, timeout_s=self._patience_s
        )
        reply = _read(heartbeat.decode_answer, answer)
        if isinstance(reply, heartbeat.Reply):
            pause_s = lease.longest_pause_s(reply.grant_term_ms)
            # A lost heartbeat must leave time for another one; a busy authority needs some, too.
            self._patience_s = min(_HEARTBEAT_S, max(_SHORTEST_HEARTBEAT_S, pause_s))
        return reply

    async def since(self, message: heartbeat.Since, voice: Voice) -> heartbeat.Events:
        """Ask for missing events."""
        answer = await self._converse(subjects.SINCE, heartbeat.encode_since(message), voice)
        return _read(heartbeat.decode_events, answer)

    async def resolve(self, message: records.Resolve) -> records.Resolved:
        """Ask for the record of a token."""
        payload = records.encode_resolve(message)
        answer = await self._transport.ask(subjects.RESOLVE, payload, timeout_s=_LOOK_S)
        return _read(records.decode_resolved, answer)

    async def acknowledge(self, message: heartbeat.Ack, voice: Voice) -> None:
        """Say that events are applied."""
        await self._transport.tell(subjects.ACK, _spoken(heartbeat.encode_ack(message), voice))

    async def release(self, message: heartbeat.Release, voice: Voice) -> None:
        """Give the instance up."""
        await self._transport.tell(subjects.HEARTBEAT, _spoken(heartbeat.encode(message), voice))

    async def used(self, message: used.Used, voice: Voice) -> None:
        """Say which tokens are in use."""
        await self._transport.tell(subjects.USED, _spoken(used.encode(message), voice))

    async def offer(self, message: offer.Offer, voice: Voice) -> offer.Taken:
        """Offer events that a restored ledger may have lost."""
        return _read(
            offer.decode_taken,
            await self._converse(subjects.OFFER, offer.encode(message), voice),
        )

    async def _converse(
        self, subject: str, content: bytes, voice: Voice, *, timeout_s: float = _HEARTBEAT_S
    ) -> bytes:
        payload = _spoken(content, voice)
        answer = await self._transport.ask(subject, payload, timeout_s=timeout_s)
        if answer == ENROL_AGAIN:
            raise NotEnrolledError
        envelope = _read(sealed.decode, answer)
        ours = envelope.key_id == voice.instance and mac.genuine(
            voice.secret, mac.TO_SIDECAR, envelope.content, envelope.signature
        )
        if not ours:
            raise UnreachableError(f"the answer to {subject} does not carry our MAC")
        return envelope.content


def _spoken(content: bytes, voice: Voice) -> bytes:
    tag = mac.tag(voice.secret, mac.TO_AUTHORITY, content)
    return sealed.encode(Sealed(content, voice.instance, tag))


def _read(decode: Callable[[bytes], _T], answer: bytes) -> _T:
    """Decode an answer; one that nobody can read counts as none."""
    try:
        return decode(answer)
    except MalformedMessageError as error:
        raise UnreachableError(f"the authority's answer cannot be read: {error}") from error
