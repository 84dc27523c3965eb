"""Enrol a sidecar's instance: check its service's credential, hand out the instance's secret.

The credential is a rescind token of kind `service`, so it is issued, listed, rotated and revoked
like any other; a revoked one enrols nobody from the next statement of Postgres on.
"""

from rescind.core import tokens, verdict
from rescind.core.powers import AUDIENCE, VERIFY
from rescind.core.record import Record
from rescind.core.tokens import Kind
from rescind.errors import MalformedMessageError
from rescind.wire import enrolment, sealed
from rescind.wire.enrolment import Belongings, Credential, Granted, Refused, Request
from rescind.wire.trust import Purpose
from rescind_authority.ports.keys import EdgeKeys, Keys
from rescind_authority.usecases.instances import Instances
from rescind_authority.usecases.recent import Recent
from rescind_authority.usecases.resolve import Resolver


class Enroller:
    """Answer requests to be enrolled."""

    def __init__(
        self,
        resolver: Resolver,
        *,
        keys: Keys,
        instances: Instances,
        recent: Recent,
        edge_keys: EdgeKeys,
    ) -> None:
        self._resolver = resolver
        self._keys = keys
        self._instances = instances
        self._recent = recent
        self._edge_keys = edge_keys

    async def answer(self, payload: bytes) -> bytes:
        """Answer one request, signed. Raises MalformedMessageError."""
        request = enrolment.decode_request(payload)
        answer = await self._answer(request)
        return sealed.encode(self._keys.sign(Purpose.ENROLMENT, enrolment.encode_answer(answer)))

    async def _answer(self, request: Request) -> Granted | Refused:
        credential = self._credential(request)
        if credential is None:
            return Refused(request.nonce, "the credential was not sealed to this authority")
        problem = await self._problem(credential)
        if problem is not None:
            return Refused(request.nonce, problem)
        instance = enrolment.instance_of(request.public)
        epoch = self._recent.epoch
        belongings = Belongings(self._instances.secret(instance), self._edge_keys.live)
        return Granted(
            nonce=request.nonce,
            instance=instance,
            epoch=epoch,
            statement=self._keys.statement,
            box=self._keys.seal_to(request.public, enrolment.encode_belongings(belongings)),
        )

    def _credential(self, request: Request) -> Credential | None:
        opened = self._keys.open(request.box)
        if opened is None:
            return None
        try:
            credential = enrolment.decode_credential(opened)
        except MalformedMessageError:
            return None
        # Bound to this request: a box that somebody recorded enrols no key of theirs.
        bound = (enrolment.instance_of(request.public), request.nonce)
        return credential if (credential.instance, credential.nonce) == bound else None

    async def _problem(self, credential: Credential) -> str | None:
        token_hash = tokens.digest(credential.token.reveal())
        record, at_us = await self._resolver.look(token_hash)
        if record is None:
            return "the credential is not known here"
        denied = (
            verdict.standing(record)
            or verdict.timely(record, earliest_us=at_us, latest_us=at_us)
            or verdict.permitted(record, require=(VERIFY,), audience=AUDIENCE)
        )
        if denied is not None:
            return f"the credential is not accepted: {denied.reason}"
        return _mismatch(record, credential.service)


def _mismatch(record: Record, service: str) -> str | None:
    if record.kind is not Kind.SERVICE:
        return f"the credential is a token of kind {record.kind}, and must be one of kind service"
    if VERIFY not in record.scopes or AUDIENCE not in record.audience:
        # `*`, or a token without audience, is for applications: it is issued with less ado.
        return f"the credential does not have {VERIFY} and the audience {AUDIENCE} by name"
    if record.subject != f"service:{service}":
        return f"the credential is for {record.subject}, and this is service:{service}"
    return None
