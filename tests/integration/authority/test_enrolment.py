"""Who may speak over NATS, where anybody can send anything: only whom a MAC proves."""

import dataclasses
import os
import secrets

import pytest
from tests.support.authority import Running, Sidecar, System, eventually, serving

from rescind.core import mac
from rescind.core.secret import Secret
from rescind.wire import enrolment, events, heartbeat, sealed, subjects
from rescind.wire.enrolment import Credential, Granted, Refused, Request
from rescind.wire.heartbeat import ENROL_AGAIN, Heartbeat
from rescind.wire.sealed import Sealed
from rescind.wire.trust import Purpose
from rescind_runtime.signing import InstanceKey, Keyring, Trust

CREDENTIAL = {"kind": "service", "scopes": ["rescind:verify"], "audience": ["rescind"]}


async def credential(authority: Running, service: str = "search") -> dict[str, str]:
    """Make a service's credential, as `rescind sidecar enrol` does."""
    return await authority.issue(f"service:{service}", **CREDENTIAL)


class Newcomer:
    """An instance that nobody knows yet."""

    def __init__(self, sidecar: Sidecar, system: System) -> None:
        self._sidecar = sidecar
        self._trust = Trust.read(system.settings.trust_path)
        self.key = InstanceKey()
        self.instance = enrolment.instance_of(self.key.public)

    async def enrol(self, token: str, service: str = "search") -> Granted | Refused:
        """Show a credential."""
        nonce = secrets.token_bytes(16)
        shown = Credential(Secret(token), service, self.instance, nonce)
        return await self.show(shown, nonce=nonce)

    async def show(
        self, shown: Credential, *, nonce: bytes, public: bytes | None = None
    ) -> Granted | Refused:
        """Send a request that may not be what it should."""
        box = self._trust.seal(enrolment.encode_credential(shown))
        return await self.send(Request(public or self.key.public, nonce, box))

    async def send(self, request: Request) -> Granted | Refused:
        """Send a request, and check who signed the answer."""
        payload = enrolment.encode_request(request)
        signed = sealed.decode(await self._sidecar.ask(subjects.ENROL, payload))
        assert self._trust.verify(Purpose.ENROLMENT, signed)
        answer = enrolment.decode_answer(signed.content)
        assert answer.nonce == request.nonce
        return answer


async def test_a_credential_of_the_service_earns_the_secret_that_opens_a_row(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        newcomer = Newcomer(sidecar, system)
        answer = await newcomer.enrol((await credential(authority))["token"])
        assert isinstance(answer, Granted)
        opened = newcomer.key.open(answer.box)
        assert opened is not None
        belongings = enrolment.decode_belongings(opened)
        keyring = Keyring.read(system.settings.keyring_path)
        derived = mac.instance_secret(keyring.master, epoch=1, instance=newcomer.instance)
        assert (belongings.secret, answer.epoch) == (derived, 1)
        sidecar.instance = newcomer.instance
        assert await sidecar.beat() is not None
        assert await _rows(system) == [newcomer.instance]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("kind = 'agent'", "kind service"),
        ("scopes = '{}'", "insufficient_scope"),
        ("scopes = '{*}'", "by name"),
        ("scopes = '{rescind:*}'", "by name"),
        ("audience = '{search}'", "audience"),
        ("audience = '{}'", "by name"),
    ],
)
async def test_a_token_that_is_no_credential_enrols_nobody(
    system: System, change: str, why: str
) -> None:
    """Such tokens are not issued any more; a table may have some from before."""
    async with serving(system) as authority, system.sidecar() as sidecar:
        made = await credential(authority)
        await system.rows(f"UPDATE tokens SET {change} WHERE token_id = $1", made["token_id"])  # noqa: S608 - ours alone
        await _refused(await Newcomer(sidecar, system).enrol(made["token"]), system, why)


async def test_no_credential_or_another_service_s_enrols_nobody(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        newcomer = Newcomer(sidecar, system)
        mails = (await credential(authority, "mail"))["token"]
        for token, why in (("", "not known"), ("rsc_svc_x", "not known"), (mails, "service:mail")):
            await _refused(await newcomer.enrol(token), system, why)


async def test_a_revoked_credential_enrols_nobody(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        made = await credential(authority)
        await authority.revoke(f"token:{made['token_id']}")
        await _refused(await Newcomer(sidecar, system).enrol(made["token"]), system, "revoked")


async def test_a_box_is_good_for_its_request_alone(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        token = Secret((await credential(authority))["token"])
        newcomer, thief = Newcomer(sidecar, system), Newcomer(sidecar, system)
        nonce, other = secrets.token_bytes(16), secrets.token_bytes(16)
        shown = Credential(token, "search", newcomer.instance, nonce)
        for answer in (
            await newcomer.show(shown, nonce=other),  # replayed under a nonce of theirs
            await newcomer.show(shown, nonce=nonce, public=thief.key.public),  # under their key
            await newcomer.send(Request(newcomer.key.public, nonce, os.urandom(200))),
        ):
            await _refused(answer, system, "not sealed")


async def test_a_public_key_that_everybody_can_open_gets_nothing(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        token = Secret((await credential(authority))["token"])
        weak, nonce = bytes(32), secrets.token_bytes(16)
        shown = Credential(token, "search", enrolment.instance_of(weak), nonce)
        box = Trust.read(system.settings.trust_path).seal(enrolment.encode_credential(shown))
        request = enrolment.encode_request(Request(weak, nonce, box))
        assert await sidecar.ask(subjects.ENROL, request) == b""
        assert await sidecar.beat() is not None  # and the authority lives on


async def test_what_carries_no_mac_of_ours_opens_no_row_and_is_counted(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        content = heartbeat.encode(_heartbeat(sidecar.instance))
        envelope = bytearray(sidecar.spoken(content))
        forged = [Sealed(content, sidecar.instance), Sealed(content, sidecar.instance, bytes(32))]
        sidecar.epoch = 2
        payloads = [sidecar.spoken(content), *(sealed.encode(each) for each in forged)]
        for place in range(5, len(envelope), 7):
            envelope[place] ^= 1
            payloads.append(bytes(envelope))
            envelope[place] ^= 1
        for payload in payloads:
            assert await sidecar.ask(subjects.HEARTBEAT, payload) in {ENROL_AGAIN, b""}
        assert await _rows(system) == []
        counted = [
            await _counted(authority, subjects.HEARTBEAT, outcome)
            for outcome in ("not_enrolled", "refused")
        ]
        assert sum(counted) == len(payloads)


async def test_an_instance_speaks_for_itself_alone(system: System) -> None:
    async with serving(system), system.sidecar() as sidecar:
        other = _heartbeat(secrets.token_bytes(16))
        answer = await sidecar.ask(subjects.HEARTBEAT, sidecar.spoken(heartbeat.encode(other)))
        assert answer == b""
        assert await _rows(system) == []


async def test_a_replayed_heartbeat_earns_nothing_and_moves_nothing(system: System) -> None:
    async with serving(system), system.sidecar() as sidecar:
        first = sidecar.spoken(heartbeat.encode(_heartbeat(sidecar.instance, counter=1)))
        assert await sidecar.ask(subjects.HEARTBEAT, first) != b""
        assert await sidecar.beat(counter=2) is not None
        before = await system.rows("SELECT * FROM leases")
        assert await sidecar.ask(subjects.HEARTBEAT, first) == b""
        assert await system.rows("SELECT * FROM leases") == before


async def test_a_forged_release_ends_nobody(system: System) -> None:
    async with serving(system), system.sidecar() as sidecar:
        assert await sidecar.beat() is not None
        release = heartbeat.encode(heartbeat.Release(sidecar.instance, 1 << 40))
        for forged in (Sealed(release), Sealed(release, sidecar.instance, bytes(32))):
            await sidecar.ask(subjects.HEARTBEAT, sealed.encode(forged))
        assert await sidecar.beat() is not None


async def test_an_answer_is_not_a_question(system: System) -> None:
    """What the authority sealed for an instance does not come back as that instance's word."""
    async with serving(system), system.sidecar() as sidecar:
        content = heartbeat.encode(_heartbeat(sidecar.instance))
        answer = await sidecar.ask(subjects.HEARTBEAT, sidecar.spoken(content))
        assert await sidecar.ask(subjects.HEARTBEAT, answer) == ENROL_AGAIN


async def test_events_are_not_told_to_who_is_not_enrolled(system: System) -> None:
    async with serving(system), system.sidecar() as sidecar:
        asked = heartbeat.encode_since(heartbeat.Since(1, 0))
        forged = Sealed(asked, sidecar.instance, bytes(32))
        assert await sidecar.ask(subjects.SINCE, sealed.encode(forged)) == ENROL_AGAIN


async def test_events_that_somebody_made_up_move_no_authority(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        await authority.revoke("tenant:t")
        batch = events.Batch(
            epoch=1,
            first_seq=2,
            before=bytes(32),
            after=bytes(32),
            awaited=False,
            payloads=(b"made up",),
        )
        other = Keyring.create(root=os.urandom(32), now_us=1)
        ours = Keyring.read(system.settings.keyring_path)
        for forged in (
            events.encode_batch(batch, sealed.unsigned),
            events.encode_batch(batch, lambda content: other.sign(Purpose.EVENTS, content)),
            events.encode_batch(batch, lambda content: ours.sign(Purpose.RECORDS, content)),
            b"",
        ):
            await sidecar.nats.publish(subjects.EVENTS, forged)
        await sidecar.nats.flush()

        async def refused() -> float:
            return await _counted(authority, subjects.EVENTS, "refused")

        await eventually(refused, until=lambda count: count == 4)
        assert await authority.metric("rescind_authority_head_seq") == 1


async def _refused(answer: Granted | Refused, system: System, why: str) -> None:
    assert isinstance(answer, Refused)
    assert why in answer.why
    assert await _rows(system) == []


async def _counted(authority: Running, subject: str, outcome: str) -> float:
    name = "rescind_authority_unanswered_requests_total"
    line = f'{name}{{outcome="{outcome}",subject="{subject}"}} '
    text = (await authority.http.get("/metrics")).text
    found = [float(each.removeprefix(line)) for each in text.splitlines() if each.startswith(line)]
    return sum(found)


async def _rows(system: System) -> list[bytes]:
    return [row["instance"] for row in await system.rows("SELECT instance FROM leases")]


def _heartbeat(instance: bytes, *, counter: int = 1) -> Heartbeat:
    template = Heartbeat(
        instance=instance,
        nonce=bytes(16),
        counter=1,
        applied=None,
        service="search",
        host="host-1",
        version="0.1.0",
        posture="strict",
    )
    return dataclasses.replace(template, counter=counter)
