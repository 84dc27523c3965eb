"""Look-ups: an enrolled instance alone is answered, and only a presented secret ends a tree."""

import dataclasses
import hmac
import secrets
from collections.abc import Sequence

import httpx2
import pytest
from tests.integration.authority.test_rotate_and_expire import effects, facts, long_ago, rotate
from tests.support.authority import Running, Sidecar, System, now_us, serving
from tests.support.eventually import eventually
from tests.support.messages import NONCE

from rescind.core import instance_mac, token_format
from rescind.wire import lookups, nats_subjects, signed_envelope
from rescind.wire.heartbeat import ENROL_AGAIN
from rescind.wire.lookups import LookupRequest, PossessionProof
from rescind.wire.signed_envelope import SignedEnvelope

MINUTE_US = 60_000_000


async def post(running: Running, payload: bytes) -> httpx2.Response:
    async with running.as_bearer(None) as client:
        return await client.post(nats_subjects.path(nats_subjects.RESOLVE), content=payload)


async def rotated(authority: Running, system: System, **how: object) -> tuple[str, str]:
    """Rotate a token an hour ago; return its id and its old secret."""
    old = await authority.issue("agent:a")
    await rotate(authority, old["token_id"], **how)
    await long_ago(system)
    return old["token_id"], old["token"]


async def looked_up(authority: Running) -> float:
    """Count the look-ups that reached Postgres, but for the one that this makes."""
    text = (await authority.http.get("/metrics")).text
    name = "rescind_authority_resolves_total"
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


async def nothing_ended(authority: Running, system: System) -> None:
    """Fail if the old secret's use was found by the time that another command is through."""
    await authority.revoke("tenant:t")
    assert "revoke" not in [effect for effect, _ in (await effects(system))[:-1]]


async def test_the_hash_of_a_rotated_secret_ends_nothing_and_gets_no_record(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        _, old = await rotated(authority, system)
        plain = lookups.encode_request(LookupRequest(token_format.digest(old)))
        modern = lookups.encode_request(sidecar.asking(old))
        spoken = signed_envelope.decode(sidecar.spoken(modern))
        twisted = dataclasses.replace(spoken, key_id=secrets.token_bytes(16))
        before = await looked_up(authority)
        for payload, answer, status in (
            (plain, b"", 400),
            (modern, b"", 400),
            (signed_envelope.encode(SignedEnvelope(plain)), b"", 400),
            (
                signed_envelope.encode(SignedEnvelope(modern, sidecar.instance, bytes(32))),
                ENROL_AGAIN,
                200,
            ),
            (signed_envelope.encode(twisted), ENROL_AGAIN, 200),
            (sidecar.spoken(plain), b"", 400),
        ):
            assert await sidecar.ask(nats_subjects.RESOLVE, payload) == answer
            over_http = await post(authority, payload)
            assert over_http.status_code == status
            assert status != 200 or over_http.content == answer
        assert "older version, which must be upgraded" in (await post(authority, plain)).text
        assert await looked_up(authority) == before  # Postgres is spared
        await nothing_ended(authority, system)


def unproven(sidecar: Sidecar, old: str) -> Sequence[LookupRequest]:
    """Ask about an old secret as an enrolled instance that has all but the secret itself."""
    asked, token_hash = sidecar.asking(old), token_format.digest(old)
    assert asked.presented is not None
    assert asked.nonce is not None
    keyed = hmac.digest(token_hash, b"rescind possession", "sha256")
    stored = token_format.possession_hash(old)
    made_up = [keyed, stored, token_hash, bytes(32)]
    return (
        dataclasses.replace(asked, presented=None),
        dataclasses.replace(asked, nonce=NONCE),  # recorded, under another nonce
        *(
            dataclasses.replace(
                asked,
                presented=PossessionProof(
                    1 << 40, now_us(), instance_mac.mask(sidecar.secret, asked.nonce, each)
                ),
            )
            for each in made_up
        ),
        dataclasses.replace(
            asked,
            presented=dataclasses.replace(asked.presented, proof=token_format.possession(old)),
        ),
    )


async def test_an_enrolled_instance_that_was_not_shown_the_secret_ends_nothing(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        _, old = await rotated(authority, system)
        for asked in unproven(sidecar, old):
            assert (await sidecar.look_up(asked)).record is not None
        # What another instance says of it, as that one said it.
        other = dataclasses.replace(sidecar, instance=secrets.token_bytes(16))
        assert (await other.look_up(sidecar.asking(old))).record is not None
        await nothing_ended(authority, system)


async def test_an_instance_that_is_not_a_member_gets_no_record_and_ends_nothing(
    system: System,
) -> None:
    """Its MAC is right, and its credential or itself was taken out, or it never enrolled."""
    async with serving(system) as authority, system.sidecar() as sidecar:
        _, old = await rotated(authority, system)
        sidecar.instance = secrets.token_bytes(16)
        payload = sidecar.spoken(lookups.encode_request(sidecar.asking(old)))
        answer = await sidecar.nats.request(nats_subjects.RESOLVE, payload, timeout=5)
        assert answer.data == ENROL_AGAIN
        assert (await post(authority, payload)).content == ENROL_AGAIN
        await nothing_ended(authority, system)


async def test_a_look_up_that_was_recorded_before_the_leeway_was_over_ends_nothing(
    system: System,
) -> None:
    """From before the rotation, its position tells; from within the leeway, its time."""
    async with serving(system) as authority, system.sidecar() as sidecar:
        await sidecar.enrol()
        old = await authority.issue("agent:a")
        recorded = sidecar.spoken(lookups.encode_request(sidecar.asking(old["token"], seq=0)))
        await rotate(authority, old["token_id"])
        within = sidecar.spoken(lookups.encode_request(sidecar.asking(old["token"], seq=1)))
        for _ in range(2):
            for payload in (recorded, within):
                assert await sidecar.ask(nats_subjects.RESOLVE, payload)
                assert (await post(authority, payload)).status_code == 200
            # From here on the rotation lies an hour back, and what was recorded 40 minutes.
            await long_ago(system)
            early_us = now_us() - 61 * MINUTE_US
            within = sidecar.spoken(
                lookups.encode_request(sidecar.asking(old["token"], seq=1, at_us=early_us))
            )
        await nothing_ended(authority, system)


async def test_a_presented_secret_ends_the_tree_whatever_time_is_claimed(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        token_id, old = await rotated(authority, system)
        await sidecar.resolve(old, at_us=(1 << 64) - 1)

        async def state() -> str:
            found: str = (await facts(authority, {"token_id": token_id}))["state"]
            return found

        await eventually(state, until=lambda seen: seen == "revoked")


async def test_a_reported_time_that_lies_in_the_future_proves_no_reuse(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        old = await authority.issue("agent:a")
        await rotate(authority, old["token_id"])
        await sidecar.resolve(old["token"], at_us=(1 << 64) - 1)  # within the leeway, in truth
        await nothing_ended(authority, system)


async def test_presenting_a_rotated_secret_to_the_authority_as_a_bearer_ends_the_tree(
    system: System,
) -> None:
    async with serving(system) as authority:
        token_id, old = await rotated(authority, system)
        async with authority.as_bearer(old) as bearer:
            body = {"subject": "agent:a/b"}
            assert (await bearer.post("/v1/delegations", json=body)).status_code == 401

        async def state() -> str:
            found: str = (await facts(authority, {"token_id": token_id}))["state"]
            return found

        await eventually(state, until=lambda seen: seen == "revoked")


@pytest.mark.parametrize("way", ["explain", "revoke"])
async def test_an_operators_query_about_an_old_secret_does_not_count_as_reuse(
    system: System, way: str
) -> None:
    async with serving(system) as authority:
        _, old = await rotated(authority, system)
        if way == "explain":
            looked = await authority.http.post("/v1/tokens/look", json={"token": old})
            assert looked.json()["rotated_at"] is not None
            assert looked.json()["denied"] == "expired"
        else:
            body = {"token": old, "dry_run": True}
            assert (await authority.http.post("/v1/revocations", json=body)).status_code == 200
        await nothing_ended(authority, system)


async def test_a_secret_from_before_the_migration_is_denied_and_ends_nothing(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        old = await authority.issue("agent:a")
        await system.rows("UPDATE tokens SET possession_hash = NULL")
        new = await rotate(authority, old["token_id"])
        await long_ago(system)
        assert (await sidecar.resolve(old["token"]))[1] is not None
        await nothing_ended(authority, system)
        # The next secret has what shows who holds it.
        await rotate(authority, old["token_id"])
        await long_ago(system)
        await sidecar.resolve(new["token"])

        async def state() -> str:
            found: str = (await facts(authority, old))["state"]
            return found

        await eventually(state, until=lambda seen: seen == "revoked")


async def test_an_answer_is_bound_to_one_look_up_and_not_now_is_authenticated_too(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        known, unknown = (await authority.issue())["token"], "rsc_agt_unheard_of"
        assert (await sidecar.look_up(sidecar.asking(known))).record is not None
        assert (await sidecar.look_up(sidecar.asking(unknown))).record is None
        await system.shut()
        asked = sidecar.asking(known)

        async def answer() -> lookups.LookupAnswer | lookups.LookupUnavailable:
            content = await sidecar.converse(nats_subjects.RESOLVE, lookups.encode_request(asked))
            return lookups.decode_reply(content)

        expected = lookups.LookupUnavailable(asked.nonce or b"", asked.token_hash)
        assert await eventually(answer, until=lambda seen: seen == expected) == expected
        await system.open()
