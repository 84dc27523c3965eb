"""Authenticate instances by the MAC of their messages (design 7).

An instance's secret is derived from a master key, so any authority can check any instance. With a
stolen copy of Postgres, no MAC can be checked or forged. While the master key is being replaced,
two master keys exist. The answer to a message uses the same master key as the message.
"""

from dataclasses import dataclass

from rescind.core import instance_mac
from rescind.errors import MalformedMessageError
from rescind.wire import signed_envelope
from rescind.wire.heartbeat import INSTANCE_BYTES
from rescind.wire.signed_envelope import SignedEnvelope
from rescind_authority.errors import NotEnrolledError, StoreUnavailableError
from rescind_authority.ports.keys import Keys
from rescind_authority.usecases.ledger.recent_events import RecentEvents


@dataclass(frozen=True, slots=True, repr=False)
class AuthenticatedMessage:
    """The content of an instance's message, and the secret that authenticated it.

    `outdated` means that another secret is available to the instance, derived from the master key
    that is in use now.
    """

    instance: bytes
    content: bytes
    secret: bytes
    outdated: bool


class Instances:
    """Check the MACs of messages from instances, and add one to each answer."""

    def __init__(self, *, keys: Keys, recent: RecentEvents) -> None:
        self._keys = keys
        self._recent = recent

    def secret(self, instance: bytes) -> bytes:
        """Derive an instance's secret for the ledger's epoch. Raises StoreUnavailableError."""
        return self._derive(self._keys.masters[0], instance)

    def _derive(self, master: bytes, instance: bytes) -> bytes:
        if not self._recent.epoch:
            raise StoreUnavailableError("the ledger was not read yet")
        return instance_mac.instance_secret(master, epoch=self._recent.epoch, instance=instance)

    def open(self, payload: bytes) -> AuthenticatedMessage:
        """Return the authenticated message of an instance. Raises NotEnrolledError.

        No part of the content is decoded before its MAC is verified.
        """
        envelope = signed_envelope.decode(payload)
        if len(envelope.key_id) != INSTANCE_BYTES:
            raise MalformedMessageError("authenticated message", "it names no instance")
        for place, master in enumerate(self._keys.masters):
            secret = self._derive(master, envelope.key_id)
            if instance_mac.genuine(
                secret, instance_mac.TO_AUTHORITY, envelope.content, envelope.signature
            ):
                return AuthenticatedMessage(
                    envelope.key_id, envelope.content, secret, outdated=place > 0
                )
        raise NotEnrolledError

    @staticmethod
    def authenticated(message: AuthenticatedMessage, content: bytes) -> bytes:
        """Return an answer in an envelope with a MAC that only the instance accepts."""
        tag = instance_mac.tag(message.secret, instance_mac.TO_SIDECAR, content)
        return signed_envelope.encode(SignedEnvelope(content, message.instance, tag))
