"""The ports EventAnnouncer and AcknowledgementCaller: what an authority sends to every sidecar.

In memory that is the simulation's network, which may reorder messages; so no test here expects an
order. Over NATS the listeners are the product's transport.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import pytest
from tests.contracts import links
from tests.simulation.authority import Authority, Redis
from tests.simulation.network import Host, Network, now_us
from tests.simulation.trust import Keys, TrustStore
from tests.support.eventually import eventually
from tests.support.postgres_in_memory import Cluster, begun

from rescind.core import ledger
from rescind.core.handles import select
from rescind.core.revocation import Event, Revocation
from rescind.wire import events, heartbeat, nats_subjects, signed_envelope
from rescind.wire.events import Batch
from rescind.wire.heartbeat import AckRequest
from rescind.wire.trust_statement import Purpose
from rescind_authority.nats.publisher import NatsPublisher
from rescind_authority.ports.broadcast import AcknowledgementCaller, EventAnnouncer
from rescind_authority.prometheus import PrometheusMetrics
from rescind_sidecar.link.nats_transport import NatsTransport

SIDECARS = 2
CAPACITY = 1_024
IN_TIME_S = 15.0


@dataclass(frozen=True)
class Listener:
    """What a sidecar hears."""

    events: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue[bytes])
    wanted: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue[bytes])

    def hear(self, subject: str, payload: bytes) -> None:
        heard = self.events if subject == nats_subjects.EVENTS else self.wanted
        heard.put_nowait(payload)


@dataclass(frozen=True)
class Broadcast:
    """An authority's way to every sidecar, and the sidecars that listen."""

    announcer: EventAnnouncer
    caller: AcknowledgementCaller
    listeners: tuple[Listener, ...]


Opened = Callable[[], AbstractAsyncContextManager[Broadcast]]


@pytest.fixture(params=["memory", "nats"])
def opened(request: pytest.FixtureRequest) -> Opened:
    """Return how to open the way to the sidecars."""
    if request.param == "memory":
        return in_memory
    return partial(over_nats, str(request.getfixturevalue("servers")["nats"]))


@asynccontextmanager
async def in_memory() -> AsyncGenerator[Broadcast]:
    network, here = Network(1), Host("authority")
    listeners = tuple(Listener() for _ in range(SIDECARS))

    def publish(subject: str, payload: bytes) -> None:
        for number, listener in enumerate(listeners):
            network.send(here, Host(str(number)), partial(listener.hear, subject, payload))

    cluster = Cluster(begun(term_ms=1_000, at_us=now_us()), now_us=now_us)
    authority = Authority(here, cluster, redis=Redis(), publish=publish, seed="1")
    yield Broadcast(authority, authority, listeners)


@asynccontextmanager
async def over_nats(nats_url: str) -> AsyncGenerator[Broadcast]:
    publisher = NatsPublisher(Keys(), PrometheusMetrics())
    listeners = tuple(Listener() for _ in range(SIDECARS))
    async with AsyncExitStack() as stack:
        for listener in listeners:
            await stack.enter_async_context(listening(nats_url, listener))
        await stack.enter_async_context(publishing(nats_url, publisher))
        yield Broadcast(publisher, publisher, listeners)


@asynccontextmanager
async def listening(nats_url: str, listener: Listener) -> AsyncGenerator[None]:
    """Run a sidecar's transport for the block; its subscriptions are known to the server."""
    transport, connected = NatsTransport(nats_url, name="sidecar"), asyncio.Event()
    run = transport.run(
        on_events=partial(listener.hear, nats_subjects.EVENTS),
        on_wanted=partial(listener.hear, nats_subjects.WANTED),
        on_connected=connected.set,
    )
    async with links.running(run):
        await connected.wait()
        client = transport._client
        assert client is not None
        await client.flush()
        yield


@asynccontextmanager
async def publishing(nats_url: str, publisher: NatsPublisher) -> AsyncGenerator[None]:
    async with links.nats_client(nats_url) as client, links.running(publisher.run(client)):
        yield


def a_batch(number: int = 1, *, awaited: bool = False) -> Batch:
    """Return a batch of one event at the beginning of a ledger."""
    before = ledger.genesis(1)
    revoked = Revocation(f"rev_{number}", select(["tenant:a"]), "revoke", "", "test")
    payload = events.encode(Event(1, 1, 1, revoked))
    return Batch(1, 1, before.head, before.after(payload).head, awaited, (payload,))


async def heard(queue: asyncio.Queue[bytes]) -> bytes:
    async with asyncio.timeout(IN_TIME_S):
        return await queue.get()


# On both adapters --------------------------------------------------------------------------------


@pytest.mark.parametrize("awaited", [True, False])
async def test_every_sidecar_hears_a_batch_as_it_was_announced(
    opened: Opened, awaited: bool
) -> None:
    batch = a_batch(awaited=awaited)
    async with opened() as here:
        here.announcer.announce(batch)
        for listener in here.listeners:
            assert events.decode_batch(await heard(listener.events)) == batch


async def test_a_batch_is_signed_for_events_and_for_no_other_purpose(opened: Opened) -> None:
    async with opened() as here:
        here.announcer.announce(a_batch())
        signed = signed_envelope.decode(await heard(here.listeners[0].events))
    trusted = [purpose for purpose in Purpose if TrustStore().verify(purpose, signed)]
    assert trusted == [Purpose.EVENTS]


async def test_every_sidecar_hears_a_request_to_acknowledge(opened: Opened) -> None:
    wanted = AckRequest(1, 7)
    async with opened() as here:
        here.caller.call(wanted)
        for listener in here.listeners:
            assert heartbeat.decode_ack_request(await heard(listener.wanted)) == wanted


async def test_no_announcement_of_many_is_lost_on_a_network_that_works(opened: Opened) -> None:
    batches = [a_batch(number) for number in range(100)]
    async with opened() as here:
        for batch in batches:
            here.announcer.announce(batch)
        for listener in here.listeners:
            found = [events.decode_batch(await heard(listener.events)) for _ in batches]
            assert sorted(found, key=lambda each: each.payloads) == sorted(
                batches, key=lambda each: each.payloads
            )


# Over NATS alone ---------------------------------------------------------------------------------


async def test_without_nats_an_announcement_returns_at_once_and_too_many_are_counted() -> None:
    metrics = PrometheusMetrics()
    publisher = NatsPublisher(Keys(), metrics)
    for _ in range(CAPACITY + 3):
        publisher.announce(a_batch())
        publisher.call(AckRequest(1, 1))
    assert unannounced(metrics) == CAPACITY + 3 - CAPACITY // 2


async def test_what_was_announced_without_nats_is_counted_and_never_comes_late(
    servers: dict[str, object],
) -> None:
    nats_url, listener, metrics = str(servers["nats"]), Listener(), PrometheusMetrics()
    publisher = NatsPublisher(Keys(), metrics)
    old, new = a_batch(1), replace(a_batch(2), awaited=True)

    async def dropped() -> bool:
        return unannounced(metrics) == 1

    async with links.running(publisher.drop_all()):
        publisher.announce(old)
        await eventually(dropped)
    async with listening(nats_url, listener), publishing(nats_url, publisher):
        publisher.announce(new)
        assert events.decode_batch(await heard(listener.events)) == new
    assert listener.events.empty()


def unannounced(metrics: PrometheusMetrics) -> float:
    (line,) = [
        each
        for each in metrics.render().splitlines()
        if each.startswith(b"rescind_authority_unannounced_batches_total ")
    ]
    return float(line.split()[-1])
