"""Recognise instances by the MAC that everything they say carries (design 7).

An instance's secret is derived from the master key, so any authority can check any instance, and a
stolen copy of Postgres can check, and forge, none.
"""

from rescind.core import mac
from rescind.errors import MalformedMessageError
from rescind.wire import sealed
from rescind.wire.heartbeat import INSTANCE_BYTES
from rescind.wire.sealed import Sealed
from rescind_authority.errors import NotEnrolledError, StoreUnavailableError
from rescind_authority.usecases.recent import Recent


class Instances:
    """Open what instances send, and seal what goes back to them."""

    def __init__(self, *, master: bytes, recent: Recent) -> None:
        self._master = master
        self._recent = recent

    def secret(self, instance: bytes) -> bytes:
        """Derive an instance's secret for the ledger's epoch. Raises StoreUnavailableError."""
        if not self._recent.epoch:
            raise StoreUnavailableError("the ledger was not read yet")
        return mac.instance_secret(self._master, epoch=self._recent.epoch, instance=instance)

    def open(self, payload: bytes) -> tuple[bytes, bytes]:
        """Give the instance that sent a message, and its content. Raises NotEnrolledError.

        Nothing of the content is decoded before its MAC is right.
        """
        envelope = sealed.decode(payload)
        if len(envelope.key_id) != INSTANCE_BYTES:
            raise MalformedMessageError("authenticated message", "it names no instance")
        secret = self.secret(envelope.key_id)
        if not mac.genuine(secret, mac.TO_AUTHORITY, envelope.content, envelope.signature):
            raise NotEnrolledError
        return envelope.key_id, envelope.content

    def seal(self, instance: bytes, content: bytes) -> bytes:
        """Put an answer into an envelope that this instance, and nobody else, believes."""
        tag = mac.tag(self.secret(instance), mac.TO_SIDECAR, content)
        return sealed.encode(Sealed(content, instance, tag))
