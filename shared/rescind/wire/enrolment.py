"""Enrolment: an instance sends its service's credential and its public key, and gets its secret.

The credential is a token. It travels only inside a box that only the authority can open; the secret
travels only inside a box that only this instance can open (X25519, libsodium sealed box).
"""

import hashlib
from dataclasses import dataclass

from rescind.core.secret import Secret
from rescind.wire.codec import Fields, Payload, pack
from rescind.wire.heartbeat import INSTANCE_BYTES, NONCE_BYTES
from rescind.wire.trust_statement import KEY_BYTES

SECRET_BYTES = 32

_REQUEST = 1
_CREDENTIAL = 1
_GRANTED = 1
_REFUSED = 2
_INSTANCE_SECRETS = 1


def instance_of(public: bytes) -> bytes:
    """Return the instance id of a public key: the first 16 bytes of its SHA-256."""
    return hashlib.sha256(public).digest()[:INSTANCE_BYTES]


@dataclass(frozen=True, slots=True)
class EnrolmentRequest:
    """A request to enrol. `box` is a Credential, encrypted to the authority's sealing key.

    An empty box asks for the newest trust statement alone; an EnrolmentRefused brings it.
    """

    public: bytes
    nonce: bytes
    box: bytes


@dataclass(frozen=True, slots=True)
class Credential:
    """The service's token, bound to the instance and the request for which it is sent.

    `posture` is the posture that the instance will declare; None from an older sidecar.
    """

    token: Secret
    service: str
    instance: bytes
    nonce: bytes
    posture: str | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """The granted enrolment. `box` contains InstanceSecrets, encrypted for the instance's key."""

    nonce: bytes
    instance: bytes
    epoch: int
    statement: bytes
    box: bytes


@dataclass(frozen=True, slots=True)
class EnrolmentRefused:
    """The refusal of an enrolment whose credential is not accepted.

    `why` is the reason in words, for the log of the sidecar. `statement` is the newest trust
    statement, and empty from an older authority. From it, a sidecar whose own statement is too old
    learns to which authority it may send its credential.
    """

    nonce: bytes
    why: str
    statement: bytes = b""


@dataclass(frozen=True, slots=True)
class InstanceSecrets:
    """The secret for the MACs of the instance's messages, and the accepted edge keys."""

    secret: bytes
    edge_keys: tuple[bytes, ...]


def encode_request(request: EnrolmentRequest) -> bytes:
    """Encode a request."""
    return pack(_REQUEST, request.public, request.nonce, request.box)


def decode_request(payload: Payload) -> EnrolmentRequest:
    """Decode a request. Raises MalformedMessageError."""
    fields = Fields(payload, message="enrolment").expect(_REQUEST)
    return EnrolmentRequest(fields.octets(KEY_BYTES), fields.octets(NONCE_BYTES), fields.octets())


def encode_credential(credential: Credential) -> bytes:
    """Encode a credential, to be encrypted at once."""
    return pack(
        _CREDENTIAL,
        credential.token.reveal(),
        credential.service,
        credential.instance,
        credential.nonce,
        *(() if credential.posture is None else (credential.posture,)),
    )


def decode_credential(payload: Payload) -> Credential:
    """Decode a credential. Raises MalformedMessageError."""
    fields = Fields(payload, message="credential").expect(_CREDENTIAL)
    return Credential(
        Secret(fields.text()),
        fields.text(),
        fields.octets(INSTANCE_BYTES),
        fields.octets(NONCE_BYTES),
        fields.optional_text() if fields.more else None,
    )


def encode_answer(answer: Granted | EnrolmentRefused) -> bytes:
    """Encode an answer; it then goes into an envelope that the enrolment key signs."""
    if isinstance(answer, EnrolmentRefused):
        optional = (answer.statement,) if answer.statement else ()
        return pack(_REFUSED, answer.nonce, answer.why, *optional)
    return pack(_GRANTED, answer.nonce, answer.instance, answer.epoch, answer.statement, answer.box)


def decode_answer(content: Payload) -> Granted | EnrolmentRefused:
    """Decode an answer. Raises MalformedMessageError."""
    fields = Fields(content, message="enrolment answer")
    if fields.tag == _REFUSED:
        return EnrolmentRefused(
            fields.octets(NONCE_BYTES),
            fields.text(),
            (fields.optional_octets() or b"") if fields.more else b"",
        )
    fields.expect(_GRANTED)
    return Granted(
        nonce=fields.octets(NONCE_BYTES),
        instance=fields.octets(INSTANCE_BYTES),
        epoch=fields.uint(),
        statement=fields.octets(),
        box=fields.octets(),
    )


def encode_instance_secrets(instance_secrets: InstanceSecrets) -> bytes:
    """Encode the secrets of an instance, to be encrypted at once."""
    return pack(_INSTANCE_SECRETS, instance_secrets.secret, instance_secrets.edge_keys)


def decode_instance_secrets(payload: Payload) -> InstanceSecrets:
    """Decode the secrets of an instance. Raises MalformedMessageError."""
    fields = Fields(payload, message="instance secrets").expect(_INSTANCE_SECRETS)
    return InstanceSecrets(fields.octets(SECRET_BYTES), fields.chunks())
