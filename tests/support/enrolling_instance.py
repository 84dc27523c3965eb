"""An instance that enrols as sidecars do, message by message."""

import secrets

from tests.support.authority import Running, Sidecar, System

from rescind.core.secret import Secret
from rescind.wire import enrolment, nats_subjects, signed_envelope
from rescind.wire.enrolment import Credential, EnrolmentRefused, EnrolmentRequest, Granted
from rescind.wire.trust_statement import Purpose
from rescind_runtime.crypto.signing import InstanceKey
from rescind_runtime.crypto.trust import Trust

CREDENTIAL = {"kind": "service", "scopes": ["rescind:verify"], "audience": ["rescind"]}


async def issue_credential(authority: Running, service: str = "search") -> dict[str, str]:
    """Issue a service's credential, as `rescind sidecar enrol` does."""
    return await authority.issue(f"service:{service}", **CREDENTIAL)


class EnrollingInstance:
    """An instance that requests its enrolment."""

    def __init__(self, sidecar: Sidecar, system: System) -> None:
        self._sidecar = sidecar
        self._trust = Trust.read(system.settings.trust_path)
        self.key = InstanceKey()
        self.instance = enrolment.instance_of(self.key.public)

    async def enrol(
        self, token: str, service: str = "search", *, posture: str | None = None
    ) -> Granted | EnrolmentRefused:
        """Enrol with a credential; without a posture, as an older sidecar does."""
        return await self.send(self.request(token, service, posture=posture))

    def request(
        self, token: str, service: str = "search", *, posture: str | None = None
    ) -> EnrolmentRequest:
        """Return the request that contains a credential."""
        nonce = secrets.token_bytes(16)
        shown = Credential(Secret(token), service, self.instance, nonce, posture)
        return self._request(shown, nonce=nonce, public=self.key.public)

    async def show(
        self, shown: Credential, *, nonce: bytes, public: bytes | None = None
    ) -> Granted | EnrolmentRefused:
        """Send a request, which may be invalid."""
        return await self.send(self._request(shown, nonce=nonce, public=public or self.key.public))

    def _request(self, shown: Credential, *, nonce: bytes, public: bytes) -> EnrolmentRequest:
        box = self._trust.encrypt_for_authority(enrolment.encode_credential(shown))
        return EnrolmentRequest(public, nonce, box)

    async def send(self, request: EnrolmentRequest) -> Granted | EnrolmentRefused:
        """Send a request, and check the signature of the answer."""
        payload = enrolment.encode_request(request)
        signed = signed_envelope.decode(await self._sidecar.ask(nats_subjects.ENROL, payload))
        assert self._trust.verify(Purpose.ENROLMENT, signed)
        answer = enrolment.decode_answer(signed.content)
        assert answer.nonce == request.nonce
        return answer


async def enrol_instance(
    sidecar: Sidecar, system: System, token: str, service: str = "search"
) -> EnrollingInstance:
    """Enrol a new instance with this credential, and make it the sidecar's own."""
    candidate = EnrollingInstance(sidecar, system)
    answer = await candidate.enrol(token, service)
    assert isinstance(answer, Granted), answer
    sidecar.instance, sidecar.counter = candidate.instance, 0
    sidecar.enrolled.add(candidate.instance)
    return candidate
