"""Over NATS, where every client can send anything, only a sender with a valid MAC counts."""

import dataclasses
import os
import secrets

import pytest
from tests.support.authority import Running, System, serving
from tests.support.enrolling_instance import EnrollingInstance, enrol_instance, issue_credential
from tests.support.eventually import eventually

from rescind.core import instance_mac, times, token_format
from rescind.core.ledger import Position
from rescind.core.secret import Secret
from rescind.core.token_format import Kind
from rescind.wire import enrolment, events, heartbeat, nats_subjects, signed_envelope
from rescind.wire.enrolment import Credential, EnrolmentRefused, EnrolmentRequest, Granted
from rescind.wire.heartbeat import ENROL_AGAIN, Heartbeat
from rescind.wire.signed_envelope import SignedEnvelope
from rescind.wire.trust_statement import Purpose
from rescind_authority.operator import bootstrap
from rescind_runtime.crypto.signing import Keyring
from rescind_runtime.crypto.trust import Trust


async def test_a_credential_of_the_service_yields_the_secret_that_opens_a_lease_row(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        candidate = EnrollingInstance(sidecar, system)
        answer = await candidate.enrol((await issue_credential(authority))["token"])
        assert isinstance(answer, Granted)
        opened = candidate.key.open(answer.box)
        assert opened is not None
        instance_secrets = enrolment.decode_instance_secrets(opened)
        keyring = Keyring.read(system.settings.keyring_path)
        derived = instance_mac.instance_secret(keyring.master, epoch=1, instance=candidate.instance)
        assert (instance_secrets.secret, answer.epoch) == (derived, 1)
        sidecar.instance = candidate.instance
        assert await sidecar.beat() is not None
        assert await _rows(system) == [candidate.instance]


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
async def test_a_token_that_is_not_a_credential_cannot_enrol(
    system: System, change: str, why: str
) -> None:
    """Such tokens are not issued any more; a table may have some from before."""
    async with serving(system) as authority, system.sidecar() as sidecar:
        made = await issue_credential(authority)
        await system.rows(f"UPDATE tokens SET {change} WHERE token_id = $1", made["token_id"])  # noqa: S608 - ours alone
        await _refused(await EnrollingInstance(sidecar, system).enrol(made["token"]), system, why)


async def test_a_missing_credential_or_one_of_another_service_cannot_enrol(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        candidate = EnrollingInstance(sidecar, system)
        mails = (await issue_credential(authority, "mail"))["token"]
        for token, why in (("", "not known"), ("rsc_svc_x", "not known"), (mails, "service:mail")):
            await _refused(await candidate.enrol(token), system, why)


async def test_a_forged_credential_is_refused_without_a_look_up(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        candidate = EnrollingInstance(sidecar, system)
        looks = "rescind_authority_resolve_seconds_count"
        before = await authority.metric(looks)
        random = bytes(32)
        forged = token_format.mint(
            kind=token_format.Kind.SERVICE, random=random, edge_key=bytes(32)
        )
        for text in (forged.reveal(), "rsc_svc_x", "", "\0", "_"):
            await _refused(await candidate.enrol(text), system, "not known here")
        assert await authority.metric(looks) == before


async def test_a_revoked_credential_cannot_enrol(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        made = await issue_credential(authority)
        await authority.revoke(f"token:{made['token_id']}")
        await _refused(
            await EnrollingInstance(sidecar, system).enrol(made["token"]), system, "revoked"
        )


async def test_a_credential_that_ended_is_refused_with_how_it_ended_and_what_to_do(
    system: System,
) -> None:
    anew = "rescind sidecar enrol --service search --file FILE"
    async with serving(system) as authority, system.sidecar() as sidecar:
        made = [await issue_credential(authority) for _ in range(5)]
        ids = [each["token_id"] for each in made]
        await authority.revoke(f"token:{ids[0]}")
        for number, change in ((1, "expire"), (2, "rotate")):
            changed = await authority.http.post(f"/v1/tokens/{ids[number]}/{change}", json={})
            assert changed.status_code == 200, changed.text
        await authority.revoke(f"token:{ids[3]}", effect="suspend")
        await authority.revoke(f"token:{ids[4]}", effect="narrow", scopes=["rescind:verify"])
        lift = "rescind explain {}"
        expected = [
            (made[0]["token"], "revoked", anew),
            (made[1]["token"], "expired", anew),
            (made[2]["token"], "rotated, and this is its old secret", anew),
            (made[3]["token"], "suspended", lift.format(ids[3])),
            (made[4]["token"], "insufficient_scope", lift.format(ids[4])),
            ("rsc_svc_x", "another authority issued it, or this ledger was restored", anew),
            (
                (await issue_credential(authority, "mail"))["token"],
                "service:mail",
                "rescind sidecar",
            ),
        ]
        for token, says, advice in expected:
            answer = await EnrollingInstance(sidecar, system).enrol(token)
            assert isinstance(answer, EnrolmentRefused)
            why, _, what_to_do = answer.why.partition(". ")
            assert says in why
            assert advice in what_to_do


async def test_an_encrypted_credential_is_valid_for_its_own_request_only(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        token = Secret((await issue_credential(authority))["token"])
        candidate, attacker = EnrollingInstance(sidecar, system), EnrollingInstance(sidecar, system)
        nonce, other = secrets.token_bytes(16), secrets.token_bytes(16)
        shown = Credential(token, "search", candidate.instance, nonce)
        for answer in (
            await candidate.show(shown, nonce=other),  # replayed under a nonce of theirs
            await candidate.show(shown, nonce=nonce, public=attacker.key.public),  # under their key
            await candidate.send(EnrolmentRequest(candidate.key.public, nonce, os.urandom(200))),
        ):
            await _refused(answer, system, "not sealed")


async def test_an_all_zero_public_key_gets_an_empty_reply(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        token = Secret((await issue_credential(authority))["token"])
        weak, nonce = bytes(32), secrets.token_bytes(16)
        shown = Credential(token, "search", enrolment.instance_of(weak), nonce)
        box = Trust.read(system.settings.trust_path).encrypt_for_authority(
            enrolment.encode_credential(shown)
        )
        request = enrolment.encode_request(EnrolmentRequest(weak, nonce, box))
        assert await sidecar.ask(nats_subjects.ENROL, request) == b""
        assert await sidecar.beat() is not None  # and the authority lives on


async def test_a_message_without_a_valid_mac_opens_no_lease_row_and_is_counted(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        content = heartbeat.encode(_heartbeat(sidecar.instance))
        envelope = bytearray(sidecar.spoken(content))
        forged = [
            SignedEnvelope(content, sidecar.instance),
            SignedEnvelope(content, sidecar.instance, bytes(32)),
        ]
        sidecar.epoch = 2
        payloads = [sidecar.spoken(content), *(signed_envelope.encode(each) for each in forged)]
        for place in range(5, len(envelope), 7):
            envelope[place] ^= 1
            payloads.append(bytes(envelope))
            envelope[place] ^= 1
        for payload in payloads:
            assert await sidecar.ask(nats_subjects.HEARTBEAT, payload) in {ENROL_AGAIN, b""}
        assert await _rows(system) == []
        counted = [
            await _counted(authority, nats_subjects.HEARTBEAT, outcome)
            for outcome in ("not_enrolled", "refused")
        ]
        assert sum(counted) == len(payloads)


async def test_an_instance_can_send_messages_for_itself_only(system: System) -> None:
    async with serving(system), system.sidecar() as sidecar:
        other = _heartbeat(secrets.token_bytes(16))
        answer = await sidecar.ask(nats_subjects.HEARTBEAT, sidecar.spoken(heartbeat.encode(other)))
        assert answer == b""
        assert await _rows(system) == []


async def test_a_replayed_heartbeat_gets_no_lease_and_changes_nothing(system: System) -> None:
    async with serving(system), system.sidecar() as sidecar:
        first = sidecar.spoken(heartbeat.encode(_heartbeat(sidecar.instance, counter=1)))
        assert await sidecar.ask(nats_subjects.HEARTBEAT, first) != b""
        assert await sidecar.beat(counter=2) is not None
        before = await system.rows("SELECT * FROM leases")
        assert await sidecar.ask(nats_subjects.HEARTBEAT, first) == b""
        assert await system.rows("SELECT * FROM leases") == before


async def test_recorded_heartbeats_do_not_revive_a_released_instance_after_its_row_was_deleted(
    system: System,
) -> None:
    """After an hour of silence the sweep deletes it."""
    async with serving(system), system.sidecar() as sidecar:
        recorded = [
            sidecar.spoken(heartbeat.encode(_heartbeat(sidecar.instance, counter=counter)))
            for counter in range(1, 6)
        ]
        for payload in recorded[:3]:
            assert await sidecar.ask(nats_subjects.HEARTBEAT, payload) != b""
        sidecar.counter = 3
        await sidecar.release()
        await system.rows("DELETE FROM leases")
        for payload in recorded:
            await sidecar.ask(nats_subjects.HEARTBEAT, payload)
        assert await _rows(system) == []
        # In another epoch the MAC is another one, so that nothing has to be remembered.
        assert await system.rows("SELECT FROM ended_instances")
        await bootstrap.new_epoch(system.settings, unknown_grace_ms=0)
        assert not await system.rows("SELECT FROM ended_instances")


async def test_an_invented_credential_never_reaches_postgres(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        forged = token_format.mint(
            kind=Kind.SERVICE, random=secrets.token_bytes(32), edge_key=secrets.token_bytes(32)
        ).reveal()
        true = (await issue_credential(authority))["token"]
        altered = true[:-1] + ("0" if true[-1] != "0" else "1")
        before = await _looked_up(authority)
        for made_up in (forged, "rsc_svc_short", "", altered, true + "\0"):
            answer = await EnrollingInstance(sidecar, system).enrol(made_up)
            assert isinstance(answer, EnrolmentRefused)
            assert "not known here" in answer.why
        assert await _looked_up(authority) == before
        assert isinstance(await EnrollingInstance(sidecar, system).enrol(true), Granted)
        assert await _looked_up(authority) == before + 1


async def _looked_up(authority: Running) -> float:
    text = (await authority.http.get("/metrics")).text
    name = "rescind_authority_resolves_total"
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


async def test_a_forged_release_ends_no_instance(system: System) -> None:
    async with serving(system), system.sidecar() as sidecar:
        assert await sidecar.beat() is not None
        release = heartbeat.encode(heartbeat.Release(sidecar.instance, 1 << 40))
        for forged in (
            SignedEnvelope(release),
            SignedEnvelope(release, sidecar.instance, bytes(32)),
        ):
            await sidecar.ask(nats_subjects.HEARTBEAT, signed_envelope.encode(forged))
        assert await sidecar.beat() is not None


async def test_a_reply_of_the_authority_is_not_accepted_as_a_request(system: System) -> None:
    """What the authority sealed for an instance does not come back as that instance's word."""
    async with serving(system), system.sidecar() as sidecar:
        content = heartbeat.encode(_heartbeat(sidecar.instance))
        answer = await sidecar.ask(nats_subjects.HEARTBEAT, sidecar.spoken(content))
        assert await sidecar.ask(nats_subjects.HEARTBEAT, answer) == ENROL_AGAIN


async def test_events_are_not_sent_to_an_instance_that_is_not_enrolled(system: System) -> None:
    async with serving(system), system.sidecar() as sidecar:
        asked = heartbeat.encode_since(heartbeat.Since(1, 0))
        forged = SignedEnvelope(asked, sidecar.instance, bytes(32))
        assert await sidecar.ask(nats_subjects.SINCE, signed_envelope.encode(forged)) == ENROL_AGAIN


async def test_forged_events_change_no_authority(system: System) -> None:
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
            events.encode_batch(batch, signed_envelope.unsigned),
            events.encode_batch(batch, lambda content: other.sign(Purpose.EVENTS, content)),
            events.encode_batch(batch, lambda content: ours.sign(Purpose.RECORDS, content)),
            b"",
        ):
            await sidecar.nats.publish(nats_subjects.EVENTS, forged)
        await sidecar.nats.flush()

        async def refused() -> float:
            return await _counted(authority, nats_subjects.EVENTS, "refused")

        await eventually(refused, until=lambda count: count == 4)
        assert await authority.metric("rescind_authority_head_seq") == 1


async def test_an_evicted_instance_gets_no_lease_and_its_last_one_is_waited_for(
    system: System,
) -> None:
    system = system.but(term=1)
    async with serving(system) as authority, system.sidecar() as sidecar:
        made = await issue_credential(authority)
        candidate = await enrol_instance(sidecar, system, made["token"])
        first = await sidecar.beat()
        assert first is not None
        path = f"/v1/fleet/{sidecar.instance.hex()}/evict"
        evicted = await authority.http.post(path, json={"reason": "it is not ours"})
        assert evicted.status_code == 200, evicted.text
        left_s = times.parse_rfc3339(evicted.json()["lease_ends_at"]) - times.parse_rfc3339(
            evicted.json()["evicted_at"]
        )
        assert left_s >= first.grant_term_ms * 1000
        again = await authority.http.post(path, json={"reason": "once more"})
        assert again.json()["evicted_why"] == evicted.json()["evicted_why"]
        assert (
            await sidecar.ask(
                nats_subjects.HEARTBEAT, sidecar.spoken(heartbeat.encode(sidecar.message()))
            )
            == ENROL_AGAIN
        )
        answer = await candidate.enrol(made["token"])
        assert isinstance(answer, EnrolmentRefused)
        assert "it is not ours" in answer.why
        (seen,) = (await authority.http.get("/v1/fleet")).json()["instances"]
        assert (seen["state"], seen["credential"]) == ("evicted", made["token_id"])
        # It acknowledges and releases, and neither settles its row: its lease may be good.
        revoked = await authority.revoke("tenant:t")
        head = (await system.rows("SELECT epoch, seq, head FROM ledger_head"))[0]
        sidecar.applied = Position(head["epoch"], head["seq"], head["head"])
        sidecar.counter += 1
        ack = heartbeat.encode_ack(
            heartbeat.Ack(sidecar.instance, sidecar.counter, sidecar.applied)
        )
        await sidecar.nats.publish(nats_subjects.ACK, sidecar.spoken(ack))
        await sidecar.ask(
            nats_subjects.HEARTBEAT,
            sidecar.spoken(heartbeat.encode(heartbeat.Release(sidecar.instance, 1 << 30))),
        )
        told = await authority.http.get(f"/v1/revocations/{revoked['id']}/receipt")
        (verifier,) = told.json()["receipt"]["verifiers"]
        assert verifier["outcome"] == "lapsed"
        other = EnrollingInstance(sidecar, system)  # its process begins anew: that id is another
        assert isinstance(await other.enrol(made["token"]), Granted)


async def _refused(answer: Granted | EnrolmentRefused, system: System, why: str) -> None:
    assert isinstance(answer, EnrolmentRefused)
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
