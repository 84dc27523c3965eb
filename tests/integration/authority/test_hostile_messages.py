"""Messages of sidecars, true but for a few edits, over HTTP and over NATS, the MAC right or wrong.

An authority takes an edited message, refuses it or says nothing. It stays up, its ledger and the
leases of others stay as they are, and what it refuses is counted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from hypothesis import HealthCheck, Phase, given, settings
from nats.errors import TimeoutError as NatsTimeoutError
from tests.support import invalid_messages
from tests.support.authority import Running, Sidecar, System, serving
from tests.support.messages import HEARTBEAT, INSTANCE, SAMPLES

from rescind.wire import nats_subjects

EXAMPLES = max(20, settings.default.max_examples) if settings.default else 20
ASKED = {
    nats_subjects.HEARTBEAT: ("heartbeat", "heartbeat, first", "release"),
    nats_subjects.SINCE: ("since",),
    nats_subjects.RESOLVE: ("resolve", "resolve, presented"),
    nats_subjects.ENROL: ("enrolment", "sealed"),
    nats_subjects.ACK: ("ack",),
    nats_subjects.USED: ("used", "used, at a time"),
    nats_subjects.OFFER: ("offer",),
}
STATE = """
    SELECT (SELECT head FROM ledger_head) AS head, (SELECT count(*) FROM events) AS events,
        (SELECT count(*) FROM tokens) AS tokens,
        (SELECT array_agg(l::text) FROM leases AS l WHERE instance = $1) AS lease
"""


def drawn(payload: bytes) -> Sequence[bytes]:
    """Draw edits of a message, the same ones in every run of the profile `ci`."""
    found: list[bytes] = []

    @settings(
        max_examples=EXAMPLES,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    @given(invalid_messages.mutated(payload))
    def draw(edited: bytes) -> None:
        found.append(edited)

    draw()
    return found


def edited(sidecar: Sidecar) -> dict[str, list[bytes]]:
    """Give the messages for each subject: as they are, and in the envelope of an instance."""
    samples = {
        sample.name: sample.encode(sample.message).replace(INSTANCE, sidecar.instance)
        for sample in SAMPLES
    }
    messages: dict[str, list[bytes]] = {}
    for subject, names in ASKED.items():
        plain = [each for name in names for each in drawn(samples[name])]
        spoken = [sidecar.spoken(each) for each in plain]
        twisted = [each for spoke in spoken[:3] for each in drawn(spoke)[:20]]
        messages[subject] = [*plain, *spoken, *twisted]
    return messages


async def unharmed(
    running: Running, innocent: Sidecar, say: Callable[[str, bytes], Awaitable[None]]
) -> None:
    """An enrolled instance sends every edited message, and no other instance is affected."""
    await running.revoke("tenant:t")
    token = (await running.issue())["token"]
    assert await innocent.beat() is not None
    before = await running.system.rows(STATE, innocent.instance)
    counted = await refusals(running)
    attacker = Sidecar(
        innocent.nats, innocent.keyring_path, running.system, service=HEARTBEAT.service
    )
    await attacker.enrol()
    for subject, messages in edited(attacker).items():
        # Who contradicts its enrolment is evicted, and would not be listened to any more.
        await running.system.rows("UPDATE enrolments SET evicted_at = NULL, evicted_why = NULL")
        for message in messages:
            await say(subject, message)
    assert await running.system.rows(STATE, innocent.instance) == before
    assert await refusals(running) > counted
    assert (await running.http.get("/readyz")).json()["status"] == "ready"
    assert await innocent.beat() is not None
    _, record = await innocent.resolve(token)
    assert record is not None


async def refusals(running: Running) -> float:
    text = (await running.http.get("/metrics")).text
    lines = [line for line in text.splitlines() if 'outcome="refused"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def test_edited_messages_over_http_affect_no_other_caller(system: System) -> None:
    async with (
        serving(system) as running,
        system.sidecar() as innocent,
        running.as_bearer(None) as anybody,
    ):

        async def say(subject: str, message: bytes) -> None:
            answer = await anybody.post(nats_subjects.path(subject), content=message)
            assert answer.status_code in {200, 204, 400, 413}, (subject, message)

        await unharmed(running, innocent, say)


async def test_edited_messages_over_nats_affect_no_other_caller(system: System) -> None:
    async with serving(system) as running, system.sidecar() as innocent:
        asked = {
            nats_subjects.HEARTBEAT,
            nats_subjects.SINCE,
            nats_subjects.RESOLVE,
            nats_subjects.ENROL,
        }

        async def say(subject: str, message: bytes) -> None:
            if subject not in asked or len(message) > innocent.nats.max_payload:
                await innocent.nats.publish(subject, message[: innocent.nats.max_payload])
                return
            try:
                await innocent.ask(subject, message)
            except NatsTimeoutError:
                raise AssertionError(f"no answer: {subject} {message!r}") from None

        async with asyncio.timeout(90):
            await unharmed(running, innocent, say)
