"""Recognise instances by the MAC that everything they say carries (design 7).

An instance's secret is derived from a master key, so any authority can check any instance, and a
stolen copy of Postgres can check, and forge, none. While the master key is being replaced there are
two, and an instance is answered under the one by which it spoke.
"""

from dataclasses import dataclass

from rescind.core import instance_mac
from rescind.errors import MalformedMessageError
from rescind.wire import signed_envelope
from rescind.wire.heartbeat import INSTANCE_BYTES
from rescind.wire.signed_envelope import SignedEnvelope
from rescind_authority.errors import NotEnrolledError, StoreUnavailableError
from rescind_authority.ports.keys import Keys
from rescind_authority.usecases.ledger.recent_events import Recent


@dataclass(frozen=True, slots=True, repr=False)
class AuthenticatedMessage:
    """What an instance said, and the secret under which it did.

    `outdated`: another secret waits for it, derived from the master key that is in use now.
    """

    instance: bytes
    content: bytes
    secret: bytes
    outdated: bool


class Instances:
    """Check the MAC of what instances send, and add one to each answer."""

    def __init__(self, *, keys: Keys, recent: Recent) -> None:
        self._keys = keys
        self._recent = recent

    def secret(self, instance: bytes) -> bytes:
        """Derive an instance's secret for the ledger's epoch. Raises StoreUnavailableError."""
        return self._derived(self._keys.masters[0], instance)

    def _derived(self, master: bytes, instance: bytes) -> bytes:
        if not self._recent.epoch:
            raise StoreUnavailableError("the ledger was not read yet")
        return instance_mac.instance_secret(master, epoch=self._recent.epoch, instance=instance)

    def open(self, payload: bytes) -> AuthenticatedMessage:
        """Return what an instance sent. Raises NotEnrolledError.

        Nothing of the content is decoded before its MAC is right.
        """
        envelope = signed_envelope.decode(payload)
        if len(envelope.key_id) != INSTANCE_BYTES:
            raise MalformedMessageError("authenticated message", "it names no instance")
        for place, master in enumerate(self._keys.masters):
            secret = self._derived(master, envelope.key_id)
            if instance_mac.genuine(
                secret, instance_mac.TO_AUTHORITY, envelope.content, envelope.signature
            ):
                return AuthenticatedMessage(
                    envelope.key_id, envelope.content, secret, outdated=place > 0
                )
        raise NotEnrolledError

    @staticmethod
    def authenticated(heard: AuthenticatedMessage, content: bytes) -> bytes:
        """Seal an answer in an envelope that only the instance believes."""
        tag = instance_mac.tag(heard.secret, instance_mac.TO_SIDECAR, content)
        return signed_envelope.encode(SignedEnvelope(content, heard.instance, tag))
