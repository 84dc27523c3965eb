"""Enrol a sidecar's instance by its service's credential.

The authority checks the credential, and returns the instance's secret. The credential is a rescind
token of kind `service`, so it is issued, listed, rotated and revoked like any other. From the next
statement of Postgres on, a revoked credential enrols no instance.
"""

from collections.abc import Callable
from dataclasses import replace

import structlog

from rescind.core import token_format
from rescind.core.record import Record
from rescind.core.token_format import Kind
from rescind.core.verdict import Reason
from rescind.core.well_known_scopes import AUDIENCE, VERIFY
from rescind.errors import MalformedMessageError, MalformedTokenError
from rescind.wire import enrolment, signed_envelope
from rescind.wire.enrolment import (
    Credential,
    EnrolmentRefused,
    EnrolmentRequest,
    Granted,
    InstanceSecrets,
)
from rescind.wire.trust_statement import Purpose
from rescind_authority.ports.audit import RefusedCall
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.enrolments import Enrolment, Enrolments, NoPlace
from rescind_authority.ports.keys import EdgeKeys, Keys
from rescind_authority.usecases.access.authoriser import actor_name
from rescind_authority.usecases.leases.instance_auth import Instances
from rescind_authority.usecases.leases.membership import contradiction, refusal
from rescind_authority.usecases.ledger.recent_events import RecentEvents
from rescind_authority.usecases.lookups.resolver import LookupResult, Resolver
from rescind_runtime.log_throttle import KeyedLogThrottle, LogThrottle

MAX_INSTANCES = 100
"""The most sidecars of a credential at once, unless the credential sets another number."""

_BEGUN = 10
"""The most instances with a lease within an hour, as a multiple: each start is a new one."""

_UNSEALED = (
    "the credential was not sealed to this authority, or to a key that it has no more. Copy its "
    "trust file to the sidecar (RESCIND_TRUST_FILE), and restart it"
)
_UNKNOWN = (
    "the credential is not known here: another authority issued it, or this ledger was restored "
    "from a backup that is older than the credential"
)
_FORBIDDEN = 403
_AUDIT_PERIOD_S = 60.0
_MAX_SOURCES = 4_096

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class Enroller:
    """Handle enrolment requests."""

    def __init__(
        self,
        resolver: Resolver,
        *,
        keys: Keys,
        instances: Instances,
        recent: RecentEvents,
        edge_keys: EdgeKeys,
        enrolments: Enrolments,
        clock: Clock,
        refused: Callable[[RefusedCall], None],
    ) -> None:
        """Store the parts; `refused` records refused enrolments."""
        self._enrolments = enrolments
        self._clock = clock
        self._refused = refused
        self._log_throttle = LogThrottle()
        self._audit_throttle = KeyedLogThrottle(_AUDIT_PERIOD_S, most=_MAX_SOURCES)
        self._resolver = resolver
        self._keys = keys
        self._instances = instances
        self._recent = recent
        self._edge_keys = edge_keys

    async def answer(self, payload: bytes) -> bytes:
        """Return the signed answer to one request. Raises MalformedMessageError."""
        request = enrolment.decode_request(payload)
        answer = await self._decide(request)
        if isinstance(answer, EnrolmentRefused):
            # A sidecar that used a retired key may encrypt its credential again, for the current
            # key.
            answer = replace(answer, statement=self._keys.statement)
        return signed_envelope.encode(
            self._keys.sign(Purpose.ENROLMENT, enrolment.encode_answer(answer))
        )

    async def _decide(self, request: EnrolmentRequest) -> Granted | EnrolmentRefused:
        if not request.box:
            return EnrolmentRefused(request.nonce, "no credential was shown")
        credential = self._open_credential(request)
        if credential is None:
            return EnrolmentRefused(request.nonce, _UNSEALED)
        instance = enrolment.instance_of(request.public)
        text = credential.token.reveal()
        # Any client can encrypt a box for the public key: without the check of the tag, a made-up
        # token would reach Postgres.
        found = await self._resolver.read_presented(text) if self._has_genuine_tag(text) else None
        problem = await self._enrol(credential, instance, found)
        if problem is not None:
            self._log_refusal(credential, instance, problem)
            self._audit(None if found is None else found.record, instance, problem)
            return EnrolmentRefused(request.nonce, problem)
        epoch = self._recent.epoch
        instance_secrets = InstanceSecrets(
            self._instances.secret(instance), self._edge_keys.accepted
        )
        return Granted(
            nonce=request.nonce,
            instance=instance,
            epoch=epoch,
            statement=self._keys.statement,
            box=self._keys.encrypt_for(
                request.public, enrolment.encode_instance_secrets(instance_secrets)
            ),
        )

    def _open_credential(self, request: EnrolmentRequest) -> Credential | None:
        opened = self._keys.open(request.box)
        if opened is None:
            return None
        try:
            credential = enrolment.decode_credential(opened)
        except MalformedMessageError:
            return None
        # Bound to this request: a recorded box does not enrol the key of another sender.
        bound = (enrolment.instance_of(request.public), request.nonce)
        return credential if (credential.instance, credential.nonce) == bound else None

    def _has_genuine_tag(self, text: str) -> bool:
        """Return True if one of our edge keys tagged a token, whatever the token's prefix."""
        try:
            token = token_format.parse(text, prefix=text.partition("_")[0])
        except MalformedTokenError:
            return False
        return token_format.genuine(token, self._edge_keys.accepted)

    async def _enrol(
        self, credential: Credential, instance: bytes, found: LookupResult | None
    ) -> str | None:
        """Enrol an instance, or return the reason for the refusal and the remedy."""
        if found is None or found.record is None or found.token is None:
            return f"{_UNKNOWN}. {_advice(credential.service)}"
        record = found.record
        why = refusal(record, found.snapshot.at_us)
        if why is not None:
            description = _describe(why, rotated=found.token.retired is not None)
            liftable = why == Reason.SUSPENDED or record.removed
            lifted = f"`rescind explain {record.token_id}` shows which revocation to lift"
            advice = lifted if liftable else _advice(credential.service)
            return f"the credential is not accepted: {description}. {advice}"
        mismatch = _find_mismatch(record, credential.service)
        if mismatch is not None:
            return f"{mismatch}. {_advice(credential.service)}"
        return await self._store_enrolment(credential, instance, record.token_id)

    async def _store_enrolment(
        self, credential: Credential, instance: bytes, token_id: str
    ) -> str | None:
        binding = await self._enrolments.binding(token_id)
        requested = Enrolment(instance, token_id, credential.service, binding.posture)
        problem = contradiction(requested, service=credential.service, declared=credential.posture)
        if problem is not None:
            return problem
        most = MAX_INSTANCES if binding.instances is None else binding.instances
        refused = await self._enrolments.enrol(requested, most=most, most_begun=_BEGUN * most)
        return None if refused is None else _describe_no_place(refused, most)

    def _log_refusal(self, credential: Credential, instance: bytes, why: str) -> None:
        """Log a refusal.

        Any peer can request enrolment, so the log is throttled.
        """
        withheld = self._log_throttle.due(self._clock.monotonic_raw_ns())
        if withheld is not None:
            _log.warning(
                "refused to enrol a sidecar",
                action="enrolment.refused",
                service=credential.service[:80],
                instance=instance.hex(),
                why=why,
                withheld=withheld,
            )

    def _audit(self, record: Record | None, instance: bytes, why: str) -> None:
        """Audit a refusal, once a minute for each credential; made-up credentials count as one."""
        source = "" if record is None else record.token_id
        withheld = self._audit_throttle.due(source, self._clock.monotonic_raw_ns())
        if withheld is None:
            return
        self._refused(
            RefusedCall(
                actor=None if record is None else actor_name(record.subject, record.token_id),
                call="enrol",
                status=_FORBIDDEN,
                why=token_format.hidden(why),
                source=f"instance {instance.hex()}",
                withheld=withheld,
            )
        )


def _describe(why: str, *, rotated: bool) -> str:
    if rotated and why == Reason.EXPIRED:
        return "it was rotated, and this is its old secret"
    return why


def _advice(service: str) -> str:
    return (
        f"Make a new one, `rescind sidecar enrol --service {service[:80]} --file FILE`, and "
        "restart the sidecar with it (RESCIND_CREDENTIAL_FILE)"
    )


def _describe_no_place(refused: NoPlace, most: int) -> str:
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
        f"{refused.begun} sidecars had a lease with this credential within an hour, {_BEGUN} times "
        "what it allows at once. Check whether they crash"
    )


def _find_mismatch(record: Record, service: str) -> str | None:
    if record.kind is not Kind.SERVICE:
        return f"the credential is a token of kind {record.kind}, and must be one of kind service"
    if VERIFY not in record.scopes or AUDIENCE not in record.audience:
        # `*` and an empty audience were meant for applications: they do not prove a service.
        return f"the credential does not have {VERIFY} and the audience {AUDIENCE} by name"
    if record.subject != f"service:{service}":
        return f"the credential is for {record.subject}, and this is service:{service}"
    return None
