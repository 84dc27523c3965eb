"""Who stays in the fleet: an instance is what it enrolled as, while its credential is good."""

import asyncio
from typing import Any

import pytest
from tests.support.authority import Running, Sidecar, System
from tests.support.enrolling_instance import (
    CREDENTIAL,
    EnrollingInstance,
    enrol_instance,
    issue_credential,
)

from rescind.wire import heartbeat, nats_subjects, recovery_offer
from rescind.wire.enrolment import EnrolmentRefused, Granted
from rescind.wire.heartbeat import ENROL_AGAIN

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def asks(sidecar: Sidecar, *, service: str = "search", posture: str = "strict") -> bytes:
    """Send a heartbeat, and return the answer as it came."""
    message = heartbeat.encode(sidecar.message(service=service, posture=posture))
    return await sidecar.ask(nats_subjects.HEARTBEAT, sidecar.spoken(message))


async def lies(sidecar: Sidecar, **facts: str) -> None:
    """Say in a heartbeat what was not enrolled: from then on the truth does not help either."""
    assert await asks(sidecar, **facts) == ENROL_AGAIN
    assert await asks(sidecar) == ENROL_AGAIN


def a_release(sidecar: Sidecar) -> bytes:
    sidecar.counter += 1
    return heartbeat.encode(heartbeat.Release(sidecar.instance, sidecar.counter))


async def row_version(system: System, instance: bytes) -> object:
    found = await system.rows("SELECT row_version FROM leases WHERE instance = $1", instance)
    return found[0]["row_version"]


async def grow_old(shared: Running, credential: dict[str, Any], *, minutes: int) -> None:
    """Have all that enrolled with a credential be silent for so long."""
    named = "(SELECT instance FROM enrolments WHERE credential = $1)"
    for change in (
        "leases SET last_seen = last_seen - $2 * interval '1 min'",
        "enrolments SET enrolled_at = enrolled_at - $2 * interval '1 min'",
    ):
        await shared.system.rows(
            f"UPDATE {change} WHERE instance IN {named}",
            credential["token_id"],
            minutes,
        )


async def test_an_instance_cannot_act_for_another_service_than_it_enrolled_for(
    shared: Running,
) -> None:
    system = shared.system
    async with system.sidecar() as sidecar:
        candidate = await enrol_instance(sidecar, system, (await issue_credential(shared))["token"])
        assert await sidecar.beat() is not None
        await lies(sidecar, service="payments-prod")
        answer = await candidate.enrol((await issue_credential(shared))["token"])
        assert isinstance(answer, EnrolmentRefused)
        assert "evicted" in answer.why
        assert "payments-prod" in answer.why
        fleet = (await shared.http.get("/v1/fleet")).json()["instances"]
        (seen,) = [each for each in fleet if each["instance"] == sidecar.instance.hex()]
        assert (seen["state"], seen["service"]) == ("evicted", "search")


@pytest.mark.parametrize(
    ("worst", "declared", "is_taken"),
    [
        (None, "grace:agent=1s", False),
        (None, "strict", True),
        ("grace:session=1m", "grace:session=60s", True),
        ("grace:session=1m", "grace:session=61s", False),
        ("grace:session=1m", "grace:session=1s,agent=1s", False),
        ("grace:session=1m", "a posture of later", False),
    ],
)
async def test_a_posture_is_never_more_lenient_than_the_credential_allows(
    shared: Running, worst: str | None, declared: str, is_taken: bool
) -> None:
    """Neither at the enrolment nor, where an older sidecar does not say it there, later."""
    bound = {} if worst is None else {"sidecars": {"posture": worst}}
    made = await shared.issue("service:search", **CREDENTIAL, **bound)
    async with shared.system.sidecar() as sidecar:
        told = await EnrollingInstance(sidecar, shared.system).enrol(
            made["token"], posture=declared
        )
        assert isinstance(told, Granted if is_taken else EnrolmentRefused)
        candidate = await enrol_instance(sidecar, shared.system, made["token"])
        if is_taken:
            assert await sidecar.beat(posture=declared) is not None
            return
        await lies(sidecar, posture=declared)
        refused = await candidate.enrol(made["token"], posture="strict")
        assert isinstance(refused, EnrolmentRefused)
        assert "lenient" in refused.why


async def test_a_credential_has_no_more_sidecars_than_its_limit(shared: Running) -> None:
    system = shared.system
    async with system.sidecar() as sidecar:
        made = await shared.issue("service:search", **CREDENTIAL, sidecars={"instances": 2})
        first = await enrol_instance(sidecar, system, made["token"])
        assert await sidecar.beat() is not None
        others = [EnrollingInstance(sidecar, system) for _ in range(8)]
        answers = await asyncio.gather(*(each.enrol(made["token"]) for each in others))
        assert sum(isinstance(each, Granted) for each in answers) == 1
        assert any(
            "has its 2 sidecars" in each.why
            for each in answers
            if isinstance(each, EnrolmentRefused)
        )
        assert isinstance(await first.enrol(made["token"]), Granted)  # it has its place
        await sidecar.release()
        assert isinstance(await EnrollingInstance(sidecar, system).enrol(made["token"]), Granted)
        assert isinstance(
            await EnrollingInstance(sidecar, system).enrol(made["token"]), EnrolmentRefused
        )
        # Who is silent for long has no place, and asks for one again when it comes back.
        await grow_old(shared, made, minutes=5)
        silent = await enrol_instance(sidecar, system, made["token"])
        await grow_old(shared, made, minutes=5)
        assert await asks(sidecar) == ENROL_AGAIN
        assert isinstance(await silent.enrol(made["token"]), Granted)
        assert await sidecar.beat() is not None


async def test_a_credential_enrols_at_most_ten_times_its_limit_within_an_hour(
    shared: Running,
) -> None:
    """Else one that releases each instance at once would fill every receipt."""
    system = shared.system
    async with system.sidecar() as sidecar:
        made = await shared.issue("service:search", **CREDENTIAL, sidecars={"instances": 1})
        for _ in range(10):
            await enrol_instance(sidecar, system, made["token"])
            assert await sidecar.beat() is not None
            await sidecar.release()
        refused = await EnrollingInstance(sidecar, system).enrol(made["token"])
        assert isinstance(refused, EnrolmentRefused)
        assert "within an hour" in refused.why
        await grow_old(shared, made, minutes=180)
        assert isinstance(await EnrollingInstance(sidecar, system).enrol(made["token"]), Granted)
        (count,) = await system.rows(
            "SELECT count(*) FROM enrolments WHERE credential = $1", made["token_id"]
        )
        assert count["count"] == 1  # what is old is forgotten


@pytest.mark.parametrize("how", ["revoke", "suspend", "narrow", "expire", "expiry", "by subject"])
async def test_instances_end_with_their_credential(shared: Running, how: str) -> None:
    """The next heartbeat brings no lease, and no event is told; what else it has, it keeps."""
    system = shared.system
    made = await shared.issue(f"service:{how.replace(' ', '-')}", **CREDENTIAL)
    service = made["subject"].removeprefix("service:")
    async with system.sidecar() as sidecar, system.sidecar() as other:
        candidate = await enrol_instance(sidecar, system, made["token"], service)
        before = await sidecar.beat(service=service)
        assert before is not None
        assert await other.beat() is not None
        seq = before.position.seq
        assert (await sidecar.since(seq)).payloads == ()
        held: dict[str, Any] = {}
        match how:
            case "expire":
                await shared.http.post(f"/v1/tokens/{made['token_id']}/expire", json={})
            case "expiry":
                await system.rows(
                    "UPDATE tokens SET expires_at = clock_timestamp() WHERE token_id = $1",
                    made["token_id"],
                )
            case "narrow":
                held = await shared.revoke(
                    f"token:{made['token_id']}", effect="narrow", scopes=["rescind:*"]
                )
            case "by subject":
                held = await shared.revoke(f"subject:{made['subject']}")
            case _:
                held = await shared.revoke(f"token:{made['token_id']}", effect=how)
        version = await row_version(system, sidecar.instance)
        assert await asks(sidecar, service=service) == ENROL_AGAIN
        since = heartbeat.encode_since(heartbeat.Since(1, 0))
        assert await sidecar.ask(nats_subjects.SINCE, sidecar.spoken(since)) == ENROL_AGAIN
        offered = recovery_offer.encode(recovery_offer.Offer(sidecar.instance, b"batch"))
        assert await sidecar.ask(nats_subjects.OFFER, sidecar.spoken(offered)) == ENROL_AGAIN
        assert (
            await sidecar.ask(nats_subjects.HEARTBEAT, sidecar.spoken(a_release(sidecar)))
            == ENROL_AGAIN
        )
        assert isinstance(await candidate.enrol(made["token"], service), EnrolmentRefused)
        # Its row stands still from here on: receipts wait until its last lease has ended.
        assert await row_version(system, sidecar.instance) == version
        assert await other.beat() is not None
        if how in {"suspend", "narrow"}:
            await shared.http.post(f"/v1/revocations/{held['id']}/lift", json={})
            assert await sidecar.beat(service=service) is not None


async def test_evicting_an_unknown_sidecar_or_an_invalid_id_is_refused(shared: Running) -> None:
    for name, status in (("0" * 32, 404), ("x", 422), ("0" * 31, 422)):
        answer = await shared.http.post(f"/v1/fleet/{name}/evict", json={})
        assert answer.status_code == status


async def test_an_instance_that_an_older_authority_enrolled_enrols_again(shared: Running) -> None:
    """It has a secret and no enrolment: it is asked to enrol, and then has its lease."""
    made = await shared.issue("service:search", **CREDENTIAL)
    async with shared.system.sidecar() as sidecar:
        candidate = EnrollingInstance(sidecar, shared.system)
        sidecar.instance = candidate.instance
        assert await asks(sidecar) == ENROL_AGAIN
        assert isinstance(await candidate.enrol(made["token"]), Granted)
        sidecar.enrolled.add(sidecar.instance)
        assert await sidecar.beat() is not None
