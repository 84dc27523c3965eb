"""What is pushed over NATS, and that nothing waits for it."""

import asyncio
from contextlib import suppress
from functools import partial

from nats.aio.msg import Msg
from nats.js.errors import NotFoundError
from pydantic import SecretStr
from tests.support.authority import System, serving
from tests.support.eventually import eventually

from rescind.core import ledger
from rescind.wire import events, nats_subjects
from rescind_runtime.net import nats_connection


async def test_a_commit_is_pushed_to_all_sidecars_as_a_batch(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as one:
        heard: asyncio.Queue[Msg] = asyncio.Queue()
        await nats_connection.subscribe(one.nats, nats_subjects.EVENTS, heard.put)
        await one.nats.flush()
        done = await authority.revoke("tenant:t", reason="gone")
        async with asyncio.timeout(5):
            message = await heard.get()
        batch = events.decode_batch(message.data)
        assert message.headers == {"Nats-Msg-Id": "1-1"}
        assert (batch.epoch, batch.first_seq, batch.awaited) == (1, 1, False)
        assert batch.before == ledger.genesis(1).head
        assert ledger.replay(ledger.genesis(1), batch.payloads).head == batch.after
        event = events.decode(batch.payloads[0])
        assert (event.revocation.revocation_id, event.revocation.reason) == (done["id"], "gone")


async def test_late_consumers_find_events_in_the_stream(system: System) -> None:
    async with system.sidecar() as auditor:
        stream = auditor.nats.jetstream()
        # Other tests' ledgers begin at 1 too, and NATS would take ours for repeats of theirs.
        with suppress(NotFoundError):
            await stream.delete_stream(nats_subjects.STREAM)
        async with serving(system) as authority:

            async def kept() -> int:
                with suppress(NotFoundError):
                    return (await stream.stream_info(nats_subjects.STREAM)).state.messages
                return -1

            await eventually(kept, until=lambda messages: messages == 0)
            await authority.revoke("tenant:t")
            await eventually(kept, until=lambda messages: messages == 1)
            message = await stream.get_msg(nats_subjects.STREAM, 1)
            assert message.data is not None
            assert events.decode_batch(message.data).first_seq == 1


async def test_without_nats_revocations_commit_at_once_and_arrive_with_the_next_heartbeat(
    system: System,
) -> None:
    deaf = system.but(nats_url=SecretStr("nats://127.0.0.1:1"))
    async with serving(deaf, connected=False) as authority:
        ready = (await authority.http.get("/readyz")).json()
        assert ready["status"] == "ready"
        assert ready["nats"] != "ok"
        async with asyncio.timeout(5):
            assert (await authority.revoke("tenant:t"))["seq"] == 1
        assert await authority.metric("rescind_authority_unannounced_batches_total") == 1
        async with serving(system, prepare=False), system.sidecar() as sidecar:
            sidecar.applied = ledger.genesis(1)
            reply = await sidecar.beat()
            assert reply is not None
            assert len(reply.payloads) == 1


async def test_an_authority_receives_the_commits_of_another_one(system: System) -> None:
    async with serving(system) as one, serving(system) as two, system.sidecar() as sidecar:
        sidecar.applied = ledger.genesis(1)
        for _ in range(5):
            await one.revoke("tenant:t")
            await two.revoke("tenant:u")
        for authority in (one, two):
            await eventually(
                partial(authority.metric, "rescind_authority_head_seq"),
                until=lambda seq: seq == 10,
            )
        for _ in range(4):  # whichever of them answers
            passage = await sidecar.since(0)
            assert len(passage.payloads) == 10
