"""A real sidecar, a real authority, and an attacker on their NATS, whose messages never count."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import SecretStr
from structlog.testing import capture_logs
from tests.support.authority import Running, System, serving
from tests.support.eventually import eventually

from rescind import Allowed, Denied, Reason, Verifier
from rescind.core import generation_table, token_format
from rescind.core.token_format import Kind
from rescind.wire import events, heartbeat, lookups, nats_subjects, signed_envelope
from rescind.wire.signed_envelope import SignedEnvelope
from rescind.wire.trust_statement import Purpose
from rescind_runtime.crypto.signing import Keyring
from rescind_runtime.net import nats_connection
from rescind_runtime.supervise import Stop
from rescind_sidecar.settings import SidecarSettings
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.wiring.sidecar import Sidecar

CREDENTIAL = {"kind": "service", "scopes": ["rescind:verify"], "audience": ["rescind"]}


@dataclass
class AttackedSystem:
    """The parts, and what Mallory, who reads all that goes over NATS, has heard."""

    authority: Running
    system: System
    sidecar: Sidecar
    socket: Path
    attacker: Client
    pushed: list[bytes] = field(default_factory=list)

    @property
    def tally(self) -> Counters:
        return self.sidecar._tally

    def table(self) -> bytes:
        """Read the table, but for the deadlines, which move by themselves."""
        table = bytearray(self.socket.with_suffix(".table").read_bytes())
        words = memoryview(table).cast("Q")
        for word in generation_table.DEADLINE.values():
            words[word] = 0
        return bytes(table)

    @property
    def applied(self) -> int:
        """The seq that readers of the table see."""
        with self.socket.with_suffix(".table").open("rb") as file:
            header = file.read(8 * generation_table.HEADER_WORDS)
        return memoryview(header).cast("Q")[generation_table._APPLIED]

    async def push(self, payload: bytes, *, subject: str = nats_subjects.EVENTS) -> None:
        """Publish a payload to all subscribers."""
        await self.attacker.publish(subject, payload)
        await self.attacker.flush()

    async def push_refused(self, payload: bytes, *, subject: str = nats_subjects.EVENTS) -> None:
        """Fail unless a pushed message is counted, and changes nothing."""
        before, table = self.tally.messages_refused, self.table()
        await self.push(payload, subject=subject)
        await self._wait_until(lambda: self.tally.messages_refused == before + 1)
        assert self.table() == table

    async def push_without_effect(self, payload: bytes) -> None:
        """Fail unless a pushed message, true but old, changes nothing."""
        before, table = self.tally.events_pushed, self.table()
        await self.push(payload)
        await self._wait_until(lambda: self.tally.events_pushed > before)
        assert self.table() == table

    async def revoke(self, *selector: str) -> bytes:
        """Revoke; give the batch that was pushed, once it is applied."""
        heard = len(self.pushed)
        await self.authority.revoke(*selector)
        await self._wait_until(lambda: len(self.pushed) > heard)
        seq = events.decode_batch(self.pushed[-1]).first_seq
        await self._wait_until(lambda: self.applied >= seq)
        return self.pushed[-1]

    async def check(self, token: str) -> Allowed | Denied:
        """Check a token in a process of its own memory: a first sight, every time."""

        def check() -> Allowed | Denied:
            verifier = Verifier.attach(self.socket, timeout_s=5)
            try:
                return verifier.check(token)
            finally:
                verifier.close()

        return await asyncio.to_thread(check)

    async def _wait_until(self, state: Callable[[], bool]) -> None:
        async def look() -> bool:
            return state()

        await eventually(look)

    async def run_another_sidecar(self, socket: Path, *, trust_file: Path) -> Counters:
        """Run another sidecar until it holds a lease; gives what it counted."""
        settings = self.sidecar._settings.model_copy(
            update={"socket": socket, "trust_file": trust_file}
        )
        stop, sidecar = Stop(), Sidecar(settings)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(sidecar.run(stop))
            await self._wait_until(lambda: sidecar._tally.heartbeats > 0)
            stop.request()
            await running
        return sidecar._tally


@asynccontextmanager
async def run_attacked_system(system: System, directory: Path) -> AsyncIterator[AttackedSystem]:
    async with (
        serving(system) as authority,
        nats_connection.connection(
            system.settings.nats_url.get_secret_value(), name="mallory"
        ) as attacker,
        asyncio.TaskGroup() as tasks,
    ):
        credential = await authority.issue("service:search", **CREDENTIAL)
        socket = directory / "search.sock"
        settings = SidecarSettings(
            data=directory,
            service="search",
            socket=socket,
            nats_url=system.settings.nats_url,
            credential=SecretStr(credential["token"]),
            trust_file=system.settings.trust_path,
            heartbeat_s=0.2,
            http_workers=0,
        )
        stop, sidecar = Stop(), Sidecar(settings)
        running = tasks.create_task(sidecar.run(stop))
        attacked = AttackedSystem(authority, system, sidecar, socket, attacker)

        async def hear(message: Msg) -> None:
            attacked.pushed.append(message.data)

        await nats_connection.subscribe(attacker, nats_subjects.EVENTS, hear)
        await attacker.flush()
        await attacked._wait_until(lambda: sidecar._tally.heartbeats > 0)
        try:
            yield attacked
        finally:
            stop.request()
            await running


async def test_a_batch_with_any_altered_byte_changes_nothing(
    system: System, tmp_path: Path
) -> None:
    async with run_attacked_system(system, tmp_path) as attacked:
        batch = await attacked.revoke("tenant:t")
        for place in range(0, len(batch), 11):
            wrong = bytearray(batch)
            wrong[place] ^= 0x41
            await attacked.push_refused(bytes(wrong))
        for length in (0, 1, 20, len(batch) - 1):
            await attacked.push_refused(batch[:length])


async def test_a_batch_without_a_valid_signature_changes_nothing(
    system: System, tmp_path: Path
) -> None:
    async with run_attacked_system(system, tmp_path) as attacked:
        content = signed_envelope.decode(await attacked.revoke("tenant:t")).content
        other = Keyring.create(root=os.urandom(32), now_us=1)
        ours = Keyring.read(system.settings.keyring_path)
        name = ours.sign(Purpose.EVENTS, content).key_id
        for forged in (
            SignedEnvelope(content),
            other.sign(Purpose.EVENTS, content),
            SignedEnvelope(content, name, other.sign(Purpose.EVENTS, content).signature),
            ours.sign(Purpose.RECORDS, content),
            ours.sign(Purpose.ENROLMENT, content),
        ):
            await attacked.push_refused(signed_envelope.encode(forged))


async def test_replayed_genuine_batches_in_any_order_change_nothing(
    system: System, tmp_path: Path
) -> None:
    async with run_attacked_system(system, tmp_path) as attacked:
        token = (await attacked.authority.issue("agent:a"))["token"]
        heard = [await attacked.revoke(f"tenant:{number}") for number in range(4)]
        await attacked.revoke("subject:agent:a")
        for batch in (*reversed(heard), *heard):
            await attacked.push_without_effect(batch)
        denied = await attacked.check(token)
        assert isinstance(denied, Denied)
        assert denied.reason is Reason.REVOKED
        assert attacked.tally.instances_ended == 0


async def test_a_batch_of_another_epoch_changes_nothing_even_if_it_is_signed(
    system: System, tmp_path: Path
) -> None:
    async with run_attacked_system(system, tmp_path) as attacked:
        batch = events.decode_batch(await attacked.revoke("tenant:t"))
        ours = Keyring.read(system.settings.keyring_path)

        def sign(content: bytes) -> SignedEnvelope:
            return ours.sign(Purpose.EVENTS, content)

        for epoch in (0, 2, 1 << 40):
            old = events.Batch(
                epoch=epoch,
                first_seq=batch.first_seq + 1,
                before=batch.after,
                after=bytes(32),
                awaited=False,
                payloads=batch.payloads,
            )
            await attacked.push_refused(events.encode_batch(old, sign))


async def test_forged_acknowledgement_requests_change_nothing_and_mask_no_genuine_one(
    system: System, tmp_path: Path
) -> None:
    async with run_attacked_system(system, tmp_path) as attacked:
        wish = heartbeat.encode_ack_request(heartbeat.AckRequest(1, 7))
        for wrong in (b"", wish[:-1], b"\xc1" * 9, bytes(64)):
            await attacked.push_refused(wrong, subject=nats_subjects.WANTED)
        for far in (1 << 62, (1 << 64) - 1):
            await attacked.push(
                heartbeat.encode_ack_request(heartbeat.AckRequest(1, far)),
                subject=nats_subjects.WANTED,
            )
        heard = attacked.tally.acknowledgements
        receipt = await attacked.authority.revoke("tenant:t", wait=True, timeout=10)
        assert receipt["state"] == "enforced"
        assert attacked.tally.acknowledgements > heard  # and not by the next heartbeat alone


async def test_forged_answers_that_arrive_first_are_not_accepted(
    system: System, tmp_path: Path
) -> None:
    """Who owns NATS can keep answers away, so deny; never make anything be accepted."""
    async with run_attacked_system(system, tmp_path) as attacked:
        token = (await attacked.authority.issue("agent:a"))["token"]
        assert isinstance(await attacked.check(token), Allowed)
        recorded: dict[str, list[bytes]] = {nats_subjects.HEARTBEAT: [], nats_subjects.RESOLVE: []}
        heard = await _overhear(attacked, recorded)
        await attacked.check((await attacked.authority.issue("agent:b"))["token"])
        await attacked._wait_until(lambda: all(recorded.values()))
        await heard()
        await attacked.authority.revoke("subject:agent:a")
        lost, push_refused = attacked.tally.heartbeats_lost, attacked.tally.messages_refused

        async def answer(message: Msg) -> None:
            # Replayed answers, truly sealed for this instance, and records of others.
            await message.respond(recorded[message.subject][-1])

        for subject in recorded:
            await nats_connection.subscribe(attacked.attacker, subject, answer)
        await attacked.attacker.flush()
        stranger = (await attacked.authority.issue("agent:c"))["token"]
        for _ in range(5):
            for each in (token, stranger):
                judged = await attacked.check(each)
                assert each == stranger or isinstance(judged, Denied)
        assert attacked.tally.instances_ended == 0
        assert attacked.tally.messages_refused >= push_refused
        assert attacked.tally.heartbeats_lost >= lost


async def test_a_forged_answer_that_arrives_first_does_not_make_a_good_token_unknown(
    system: System, tmp_path: Path
) -> None:
    """A wrong answer that comes first is passed over, and the right one is waited for."""
    async with run_attacked_system(system, tmp_path) as attacked:
        recorded: dict[str, list[bytes]] = {nats_subjects.RESOLVE: []}
        heard = await _overhear(attacked, recorded)
        edge_key = bytes.fromhex(system.settings.edge_keys_path.read_text().split()[0])
        stranger = token_format.mint(kind=Kind.AGENT, random=os.urandom(32), edge_key=edge_key)
        assert await attacked.check(stranger.reveal()) == Denied(Reason.UNKNOWN)
        await attacked._wait_until(lambda: bool(recorded[nats_subjects.RESOLVE]))
        await heard()
        unknown = lookups.encode_answer(lookups.LookupAnswer(1, 1 << 40, None))
        true_once = recorded[nats_subjects.RESOLVE][-1]
        answers = [unknown, true_once, true_once[:-1], b"", heartbeat.ENROL_AGAIN, b"\xc1"]

        async def answer(message: Msg) -> None:
            for wrong in answers:
                await message.respond(wrong)

        await nats_connection.subscribe(attacked.attacker, nats_subjects.RESOLVE, answer)
        await attacked.attacker.flush()
        for _ in range(len(answers)):
            answers.append(answers.pop(0))  # each of them comes first once
            token = (await attacked.authority.issue("agent:a"))["token"]

            async def seen(token: str = token) -> Allowed | Denied:
                judged = await attacked.check(token)
                assert judged != Denied(Reason.UNKNOWN)
                return judged

            await eventually(seen, until=lambda judged: isinstance(judged, Allowed))
        assert attacked.tally.messages_refused >= len(answers)


async def _overhear(
    attacked: AttackedSystem, recorded: dict[str, list[bytes]]
) -> Callable[[], Awaitable[object]]:
    """Keep the true answers to what sidecars ask."""
    wires: dict[str, str] = {}

    async def question(message: Msg) -> None:
        wires[message.reply] = message.subject

    async def answer(message: Msg) -> None:
        subject = wires.get(message.subject)
        if subject is not None and message.data:
            recorded[subject].append(message.data)

    for subject in recorded:
        await nats_connection.subscribe(attacked.attacker, subject, question)
    listening = await attacked.attacker.subscribe("_INBOX.>", cb=answer)
    await attacked.attacker.flush()
    return listening.unsubscribe


@pytest.mark.parametrize("evicted", [False, True], ids=["its credential", "itself"])
async def test_an_ended_sidecar_denies_after_its_lease_and_both_sides_report_the_reason(
    system: System, tmp_path: Path, evicted: bool
) -> None:
    async with run_attacked_system(system.but(term=1), tmp_path) as attacked:
        token = (await attacked.authority.issue())["token"]

        async def verdict() -> Allowed | Denied:
            return await attacked.check(token)

        await eventually(verdict, until=lambda seen: isinstance(seen, Allowed))
        with capture_logs() as log:
            if evicted:
                (seen,) = (await attacked.authority.http.get("/v1/fleet")).json()["instances"]
                path = f"/v1/fleet/{seen['instance']}/evict"
                await attacked.authority.http.post(path, json={"reason": "it is not ours"})
            else:
                await attacked.authority.revoke("subject:service:search")

            async def said() -> dict[tuple[str, str], Any]:
                return {(each["action"], each["log_level"]): each for each in log}

            push_refused = ("enrolment.refused", "error")
            lines = await eventually(said, until=lambda seen: push_refused in seen)
            await eventually(verdict, until=lambda seen: seen == Denied(Reason.NO_LEASE))
        assert ("it is not ours" if evicted else "revoked") in lines[push_refused]["why"]
        assert lines["enrolment.refused", "warning"]["why"] == lines[push_refused]["why"]
        assert lines["sidecar.evicted" if evicted else "sidecar.ended", "warning"]
