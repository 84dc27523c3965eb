"""What sidecars may ask, as bytes: the same over NATS and over HTTP.

Everything from an enrolled instance comes in an envelope with its MAC, and is answered in one.
An empty answer says "not now"; ENROL_AGAIN, which proves nothing, says that the MAC is of another
epoch or of no instance of ours, or that it is no member any more: the signed answer to its wish to
enrol says which.
"""

from dataclasses import replace

from rescind.errors import MalformedMessageError
from rescind.wire import heartbeat, offer, records, used
from rescind.wire.heartbeat import ENROL_AGAIN
from rescind_authority.errors import NotEnrolledError
from rescind_authority.ports.keys import Keys
from rescind_authority.usecases.acknowledgements import Acknowledgements
from rescind_authority.usecases.enrol import Enroller
from rescind_authority.usecases.grant import Granter
from rescind_authority.usecases.instances import Instances
from rescind_authority.usecases.membership import Membership
from rescind_authority.usecases.recent import Recent
from rescind_authority.usecases.resolve import Resolver
from rescind_authority.usecases.salvage import Salvage
from rescind_authority.usecases.usage import Usage

EMPTY = b""


class Desk:
    """Answer the questions of sidecars. Each method raises RescindError for "not now"."""

    def __init__(
        self,
        *,
        granter: Granter,
        resolver: Resolver,
        recent: Recent,
        enroller: Enroller,
        instances: Instances,
        membership: Membership,
        keys: Keys,
        usage: Usage,
        acknowledgements: Acknowledgements,
        salvage: Salvage,
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
        self._salvage = salvage

    async def enrol(self, payload: bytes) -> bytes:
        """Hand an instance its secret, sealed to it."""
        return await self._enroller.answer(payload)

    async def heartbeat(self, payload: bytes) -> bytes:
        """Grant a lease, or take a release."""
        try:
            instance, content = self._instances.open(payload)
        except NotEnrolledError:
            return ENROL_AGAIN
        message = heartbeat.decode(content)
        if message.instance != instance:
            raise MalformedMessageError("heartbeat", "it speaks for another instance")
        try:
            # Before G1: an instance that is judged good asked before its end was committed.
            if isinstance(message, heartbeat.Heartbeat):
                await self._membership.hear(message)
            else:
                await self._membership.require(instance)
        except NotEnrolledError:
            return ENROL_AGAIN
        reply = await self._granter.answer(message)
        if reply is None:
            return EMPTY
        if isinstance(reply, heartbeat.NoLease):
            return self._instances.seal(instance, heartbeat.encode_no_lease(reply))
        # So a sidecar has a new key before anything is signed with it.
        reply = replace(reply, trust_serial=self._keys.serial)
        return self._instances.seal(instance, heartbeat.encode_reply(reply))

    async def since(self, payload: bytes) -> bytes:
        """Give missing events."""
        try:
            instance, content = self._instances.open(payload)
            await self._membership.require(instance)
        except NotEnrolledError:
            return ENROL_AGAIN
        asked = heartbeat.decode_since(content)
        passage = await self._recent.read(asked.seq)
        payloads = passage.payloads if passage.epoch == asked.epoch else ()
        answer = heartbeat.encode_events(heartbeat.Events(passage.epoch, payloads))
        return self._instances.seal(instance, answer)

    async def offer(self, payload: bytes) -> bytes:
        """Take back what a restored ledger lost."""
        try:
            instance, content = self._instances.open(payload)
            await self._membership.require(instance)
        except NotEnrolledError:
            return ENROL_AGAIN
        offered = offer.decode(content)
        if offered.instance != instance:
            raise MalformedMessageError("offer", "it speaks for another instance")
        taken = offer.Taken(wanted=await self._salvage.take(offered.batch))
        return self._instances.seal(instance, offer.encode_taken(taken))

    def used(self, payload: bytes) -> None:
        """Take a report of which tokens are in use. Raises RescindError."""
        instance, content = self._instances.open(payload)
        report = used.decode(content)
        if report.instance == instance:
            self._usage.note(report)

    def ack(self, payload: bytes) -> None:
        """Take an acknowledgement. Raises RescindError."""
        instance, content = self._instances.open(payload)
        ack = heartbeat.decode_ack(content)
        if ack.instance == instance:
            self._acknowledgements.note(ack)

    async def resolve(self, payload: bytes) -> bytes:
        """Give the record of a token, signed."""
        asked = records.decode_resolve(payload)
        return records.encode_resolved(await self._resolver.resolve(asked.token_hash))
