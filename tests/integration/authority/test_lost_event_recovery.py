"""Recovery of lost events after a restore: real Postgres, real use cases."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.authority import System, serving
from tests.support.eventually import eventually
from tests.support.rows import guard_of
from tests.support.set_back import set_back

from rescind.core import verdict
from rescind.core.handles import select
from rescind.core.revocation import Effect, Revocation
from rescind.wire import events, nats_subjects, recovery_offer
from rescind.wire.events import Batch
from rescind.wire.heartbeat import AckRequest
from rescind.wire.trust_statement import Purpose
from rescind_authority import actors
from rescind_authority.operator import bootstrap
from rescind_authority.ports.ledger import CommittedEvent, IdempotentRequest, Key
from rescind_authority.postgres import pool
from rescind_authority.postgres.epochs import PostgresEpochs
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.usecases.ledger.recovery import Recovery
from rescind_authority.usecases.ledger.sequencer import LedgerCommand
from rescind_authority.wiring.core import Core
from rescind_runtime.crypto.signing import Keyring
from rescind_sidecar.ports import InstanceCredentials
from rescind_sidecar.usecases.ledger.recovery_offers import RecoveryOffers

KEYS = Keyring.create(root=bytes(32), now_us=0)


@dataclass
class RecordingAnnouncer:
    """Store each pushed batch, with the signed bytes that a sidecar receives."""

    batches: list[tuple[Batch, bytes]] = field(default_factory=list)

    def announce(self, batch: Batch) -> None:
        """Store a batch."""
        signed = events.encode_batch(batch, lambda content: KEYS.sign(Purpose.EVENTS, content))
        self.batches.append((batch, signed))

    def call(self, wanted: AckRequest) -> None:
        """Ignore a request for acknowledgements."""


@dataclass
class InProcessLink:
    """A sidecar's link that calls the authority's use case in this process."""

    recovery: Recovery

    async def offer(
        self, message: recovery_offer.Offer, credentials: InstanceCredentials
    ) -> recovery_offer.OfferAnswer:
        """Pass a batch to the authority."""
        return recovery_offer.OfferAnswer(wanted=await self.recovery.recover(message.batch))


@asynccontextmanager
async def run_core(system: System, announcer: RecordingAnnouncer) -> AsyncIterator[Core]:
    """Run the use cases of one authority, without HTTP and NATS."""
    async with pool.connect(system.dsn) as postgres:
        parts = Core(
            postgres, announcer=announcer, caller=announcer, keys=KEYS, metrics=PrometheusMetrics()
        )
        async with asyncio.TaskGroup() as tasks:
            job = tasks.create_task(parts.run())
            yield parts
            job.cancel()


async def begin_epoch(system: System) -> int:
    """Begin an epoch, as `rescind ledger new-epoch` does."""
    async with pool.connect(system.dsn) as postgres:
        _, after = await PostgresEpochs(postgres, guard_of(KEYS)).begin(now_s=int(time.time()))
    return after.epoch


async def revoke(parts: Core, handle: str) -> CommittedEvent:
    name = f"rev_{secrets.token_hex(8)}"
    revocation = Revocation(name, select([handle]), Effect.REVOKE, "", "admin:a")
    return await parts.sequencer.commit(
        LedgerCommand(IdempotentRequest(Key("admin:a", name), bytes(32)), revocation, exact=False)
    )


def sidecar_of(epoch: int) -> Any:
    instance = secrets.token_bytes(16)
    credentials = InstanceCredentials(instance, secrets.token_bytes(32))
    return SimpleNamespace(
        current=SimpleNamespace(instance=instance, credentials=credentials, epoch=epoch)
    )


@pytest.mark.parametrize("arrival_order", [(1, 2, 0), (2, 1, 0)])
async def test_every_lost_batch_is_recovered_in_any_order_of_arrival(
    system: System, arrival_order: tuple[int, ...]
) -> None:
    await bootstrap.prepare(system.settings)
    announcer = RecordingAnnouncer()
    async with run_core(system, announcer) as parts:
        for number in (1, 2, 3):
            await revoke(parts, f"tenant:{number}")
    sidecar, link = sidecar_of(epoch=1), InProcessLink(parts.recovery)
    offers = RecoveryOffers(sidecar, link)  # type: ignore[arg-type] # only `offer` of the link is called
    for place in arrival_order:
        offers.keep(*announcer.batches[place])
    await set_back(system, 1, KEYS)
    sidecar.current.epoch = await begin_epoch(system)
    async with run_core(system, RecordingAnnouncer()) as restored:
        link.recovery = restored.recovery
        await offers._offer_all()
    recovered = await system.rows(
        "SELECT anchor FROM revocations WHERE actor = $1 ORDER BY 1", actors.RECOVERY
    )
    assert [row["anchor"] for row in recovered] == ["tenant:2", "tenant:3"]


async def test_a_lost_rotation_or_end_revives_no_old_secret_and_no_ended_token(
    system: System,
) -> None:
    pushed: list[bytes] = []
    async with serving(system) as authority, system.sidecar() as sidecar:

        async def record_push(message: Any) -> None:
            pushed.append(message.data)

        await sidecar.nats.subscribe(nats_subjects.EVENTS, cb=record_push)
        await sidecar.nats.flush()
        rotated = await authority.issue("agent:rotated", scopes=["a"], max_depth=2)
        ended, unchanged = await authority.issue("agent:ended"), await authority.issue("agent:by")
        async with authority.as_bearer(rotated["token"]) as bearer:
            child = await bearer.post(
                "/v1/delegations", json={"subject": "agent:rotated/child", "ttl": 600}
            )
        assert child.status_code == 201, child.text
        await _back_up_tokens(system)
        for path in (f"{rotated['token_id']}/rotate", f"{ended['token_id']}/expire"):
            answer = await authority.http.post(f"/v1/tokens/{path}", json={})
            assert answer.is_success, answer.text
        await eventually(_counter_of(pushed), until=lambda count: count == 2)
    await _restore_tokens(system)
    await set_back(system, 0)
    _, after = await bootstrap.new_epoch(system.settings, unknown_grace_ms=0)
    epoch = after.epoch
    async with serving(system), system.sidecar() as sidecar:
        sidecar.epoch = epoch
        # Until the sidecar offers the lost events, the rotated secret is valid again.
        assert await _denial_reason(sidecar, rotated["token"]) is None
        for payload in reversed(pushed):
            asked = recovery_offer.encode(recovery_offer.Offer(sidecar.instance, payload))
            answer_bytes = await sidecar.converse(nats_subjects.OFFER, asked)
            assert recovery_offer.decode_offer_answer(answer_bytes).wanted
        for token, expected in (
            (rotated["token"], verdict.Reason.REVOKED),
            (ended["token"], verdict.Reason.REVOKED),
            (unchanged["token"], None),
            (child.json()["token"], None),
        ):
            assert await _denial_reason(sidecar, token) == expected


def _counter_of(messages: list[bytes]) -> Any:
    async def count() -> int:
        return len(messages)

    return count


async def _back_up_tokens(system: System) -> None:
    await system.rows("CREATE TABLE backup_tokens AS TABLE tokens")
    await system.rows("CREATE TABLE backup_retired_secrets AS TABLE retired_secrets")


async def _restore_tokens(system: System) -> None:
    await system.rows("DELETE FROM retired_secrets")
    await system.rows("DELETE FROM tokens")
    await system.rows("INSERT INTO tokens SELECT * FROM backup_tokens")
    await system.rows("INSERT INTO retired_secrets SELECT * FROM backup_retired_secrets")


async def _denial_reason(sidecar: Any, token: str) -> verdict.Reason | None:
    """Return the reason for which a token's record is denied, or None if it is valid."""
    _, record = await sidecar.resolve(token)
    denied = verdict.judge_state(record)
    return None if denied is None else denied.reason
