"""Enrol a sidecar's instance: check its service's credential, hand out the instance's secret.

The credential is a rescind token of kind `service`, so it is issued, listed, rotated and revoked
like any other; a revoked one enrols nobody from the next statement of Postgres on.
"""

import structlog

from rescind.core import tokens
from rescind.core.powers import AUDIENCE, VERIFY
from rescind.core.record import Record
from rescind.core.tokens import Kind
from rescind.errors import MalformedMessageError
from rescind.wire import enrolment, sealed
from rescind.wire.enrolment import Belongings, Credential, Granted, Refused, Request
from rescind.wire.trust import Purpose
from rescind_authority.ports.enrolments import Enrolment, Enrolments, NoPlace
from rescind_authority.ports.keys import EdgeKeys, Keys
from rescind_authority.usecases.instances import Instances
from rescind_authority.usecases.membership import contradiction, refusal
from rescind_authority.usecases.recent import Recent
from rescind_authority.usecases.resolve import Resolver
from rescind_runtime.clock import monotonic_raw_ns
from rescind_runtime.seldom import Seldom

MOST_INSTANCES = 100
"""How many sidecars a credential has at once, unless it says otherwise."""

_BEGUN = 10
"""How many times that may have a lease within an hour: each start is a new instance."""

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


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
        enrolments: Enrolments,
    ) -> None:
        self._enrolments = enrolments
        self._refusals = Seldom()
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
        instance = enrolment.instance_of(request.public)
        problem = await self._problem(credential, instance)
        if problem is not None:
            self._tell(credential, instance, problem)
            return Refused(request.nonce, problem)
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

    async def _problem(self, credential: Credential, instance: bytes) -> str | None:
        """Enrol an instance, or return why not."""
        token_hash = tokens.digest(credential.token.reveal())
        record, at_us = await self._resolver.look(token_hash)
        if record is None:
            return "the credential is not known here"
        why = refusal(record, at_us)
        if why is not None:
            return f"the credential is not accepted: {why}"
        return _mismatch(record, credential.service) or await self._enrol(
            credential, instance, record.token_id
        )

    async def _enrol(self, credential: Credential, instance: bytes, token_id: str) -> str | None:
        binding = await self._enrolments.binding(token_id)
        wish = Enrolment(instance, token_id, credential.service, binding.posture)
        problem = contradiction(wish, service=credential.service, declared=credential.posture)
        if problem is not None:
            return problem
        most = binding.instances or MOST_INSTANCES
        refused = await self._enrolments.enrol(wish, most=most, most_begun=_BEGUN * most)
        return None if refused is None else _no_place(refused, most)

    def _tell(self, credential: Credential, instance: bytes, why: str) -> None:
        """Log a refusal; anybody can ask to be enrolled, so the log is spared."""
        withheld = self._refusals.due(monotonic_raw_ns())
        if withheld is not None:
            _log.warning(
                "refused to enrol a sidecar",
                action="enrolment.refused",
                service=credential.service[:80],
                instance=instance.hex(),
                why=why,
                withheld=withheld,
            )


def _no_place(refused: NoPlace, most: int) -> str:
    if refused.evicted is not None:
        return (
            f"this instance was evicted: {refused.evicted}. Restart the sidecar to enrol another; "
            "to keep its service out, revoke the credential"
        )
    if refused.placed >= most:
        return (
            f"the credential has its {most} sidecars. Stop one (it counts for a wait and a minute "
            "longer), or make another one: `rescind sidecar enrol --instances …`"
        )
    return (
        f"{refused.begun} sidecars had a lease by this credential within an hour, {_BEGUN} times "
        "what it allows at once: do they crash?"
    )


def _mismatch(record: Record, service: str) -> str | None:
    if record.kind is not Kind.SERVICE:
        return f"the credential is a token of kind {record.kind}, and must be one of kind service"
    if VERIFY not in record.scopes or AUDIENCE not in record.audience:
        # `*`, and a token without audience, were for applications: they prove no service.
        return f"the credential does not have {VERIFY} and the audience {AUDIENCE} by name"
    if record.subject != f"service:{service}":
        return f"the credential is for {record.subject}, and this is service:{service}"
    return None
