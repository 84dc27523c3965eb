"""The enrolment of an instance: a credential in return for the key of the instance's MACs.

The credential is encrypted for the key that the trust statement names, and a stolen key opens the
box. So each enrolment requests the newest statement before it sends the credential: a request to
enrol again may come from a key that was just retired. Under a statement that has ended, the
credential is not sent.
"""

import asyncio

import structlog

from rescind.core.secret import Secret
from rescind.errors import MalformedMessageError, UnreachableError
from rescind.wire import enrolment
from rescind.wire.enrolment import Credential, EnrolmentRefused, EnrolmentRequest, Granted
from rescind.wire.signed_envelope import SignedEnvelope
from rescind.wire.trust_statement import Purpose
from rescind_sidecar.ports import AuthorityLink, InstanceCredentials, RandomSource, TrustStore
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.usecases.instance import SidecarInstance

_NOT_SIGNED = (
    "the answer is not signed by a key that the trust file, or the newer statement kept beside the "
    "socket, leads to: another installation answers, an authority whose keyring is old, or a thief"
)

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class Enrol:
    """Send the service's credential, encrypted, together with an instance's public key."""

    def __init__(
        self,
        *,
        credential: Secret,
        service: str,
        posture: str,
        link: AuthorityLink,
        trust_store: TrustStore,
        random_source: RandomSource,
        tally: Counters,
    ) -> None:
        self._credential = credential
        self._service = service
        self._posture = posture
        self._link = link
        self._trust_store = trust_store
        self._random = random_source
        self._tally = tally
        self._refused: str | None = None
        self.refused = False
        """True if the last attempt was refused."""
        self.tried = asyncio.Event()
        """Set once an attempt has ended."""
        self.done = asyncio.Event()
        """Set once an attempt has succeeded."""

    async def enrol(self, current: SidecarInstance) -> bool:
        """Enrol an instance, and fetch the newest trust statement; return True if enrolled."""
        self.refused = False
        try:
            return await self._enrol(current)
        finally:
            self.tried.set()

    async def _enrol(self, current: SidecarInstance) -> bool:
        try:
            if not await self._fetch_statement(current):
                self._tally.enrolments_refused += 1
                return False
        except UnreachableError as error:
            _log.info("not enrolled yet", action="enrolment.lost", why=str(error))
            self._report_distrust(current)
            return False
        if self._report_distrust(current):
            self.refused = True
            return False
        nonce, serial = self._random.identity(), self._trust_store.serial
        credential = Credential(
            self._credential, self._service, current.instance, nonce, self._posture
        )
        box = self._trust_store.encrypt_for_authority(enrolment.encode_credential(credential))
        try:
            signed = await self._link.enrol(EnrolmentRequest(current.key.public, nonce, box))
        except UnreachableError as error:
            _log.info("not enrolled yet", action="enrolment.lost", why=str(error))
            return False
        enrolled = self._accept_answer(current, signed, nonce)
        # If the key was retired in between, the refusal contains the statement with the new key.
        self.refused = self.refused and serial == self._trust_store.serial
        self._tally.enrolments_refused += not enrolled
        return enrolled

    async def _fetch_statement(self, current: SidecarInstance) -> bool:
        """Request the newest statement without a credential; return True if it arrived.

        Raises UnreachableError.
        """
        nonce = self._random.identity()
        signed = await self._link.enrol(EnrolmentRequest(current.key.public, nonce, b""))
        if not self._verify(signed):
            self._report_refusal(current, _NOT_SIGNED)
            return False
        try:
            answer = enrolment.decode_answer(signed.content)
        except MalformedMessageError as error:
            self._report_refusal(current, str(error))
            return False
        if answer.nonce != nonce:
            return False
        self._adopt_statement(answer)
        return True

    def _accept_answer(
        self, current: SidecarInstance, signed: SignedEnvelope, nonce: bytes
    ) -> bool:
        if not self._verify(signed):
            self._report_refusal(current, _NOT_SIGNED)
            return False
        try:
            return self._adopt_answer(current, enrolment.decode_answer(signed.content), nonce)
        except MalformedMessageError as error:
            self._report_refusal(current, str(error))
            return False

    def _verify(self, signed: SignedEnvelope) -> bool:
        """Verify the signature of an answer.

        If our statement does not contain the key, the statement in the answer is used.
        """
        if self._trust_store.verify(Purpose.ENROLMENT, signed):
            return True
        if self._trust_store.knows(Purpose.ENROLMENT, signed):
            return False
        # The key was rotated while this sidecar had no contact. The statement needs no other
        # proof: the root key signed it, and it is adopted only if it is newer than ours.
        try:
            answer = enrolment.decode_answer(signed.content)
        except MalformedMessageError:
            return False
        self._adopt_statement(answer)
        return self._trust_store.verify(Purpose.ENROLMENT, signed)

    def _adopt_answer(
        self, current: SidecarInstance, answer: Granted | EnrolmentRefused, nonce: bytes
    ) -> bool:
        if answer.nonce != nonce:
            return False  # the answer to another request
        match answer:
            case EnrolmentRefused(why=why):
                self._adopt_statement(answer)
                self._report_refusal(current, why)
                self.refused = True
                return False
            case Granted():
                if answer.instance != current.instance:
                    return False
                self._adopt_statement(answer)
                content = current.key.open(answer.box)
                if content is None:
                    self._report_refusal(current, "the secret was not encrypted for this instance")
                    return False
                instance_secrets = enrolment.decode_instance_secrets(content)
                current.edge_keys = instance_secrets.edge_keys
                current.epoch = answer.epoch
                current.credentials = InstanceCredentials(current.instance, instance_secrets.secret)
                self._refused = current.refused = None
                self.done.set()
                _log.info("enrolled", action="enrolment.done", epoch=answer.epoch)
                return True

    def _report_distrust(self, current: SidecarInstance) -> bool:
        """Return True, and log the reason, if the statement cannot be relied on."""
        problem = self._trust_store.problem()
        if problem is not None:
            self._report_refusal(current, f"the credential is not shown: {problem}")
        return problem is not None

    def _adopt_statement(self, answer: Granted | EnrolmentRefused) -> None:
        if answer.statement:  # an older authority sends it only when it grants an enrolment
            self._trust_store.accept(answer.statement)

    def _report_refusal(self, current: SidecarInstance, why: str) -> None:
        current.refused = why
        # Logged once for each reason, because every heartbeat tries again until it succeeds.
        if why != self._refused:
            _log.error("enrolment was refused", action="enrolment.refused", why=why)
        self._refused = why
