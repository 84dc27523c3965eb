"""The simulation's authority, which a sidecar reaches over each transport (port AuthorityLink)."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from tests.contracts import links
from tests.simulation.actors import TERM_MS, Actors
from tests.simulation.authority import METRICS, Authority, Redis
from tests.simulation.network import Host, Network, now_us
from tests.simulation.oracle import Oracle
from tests.simulation.sidecar import SimulatedTransport
from tests.simulation.trust import Keys, RandomSource, TrustStore
from tests.support.authority import now_us as wall_us
from tests.support.eventually import eventually
from tests.support.ledger_entries import append
from tests.support.postgres_in_memory import Cluster, PostgresInMemory, begun
from tests.support.sidecar import LedgerInMemory

from rescind.core.handles import select
from rescind.core.revocation import Revocation
from rescind_authority.http.sidecar_routes import SidecarRoutes
from rescind_authority.nats.sidecar_requests import Requests
from rescind_runtime.crypto.trust import Trust
from rescind_runtime.net import http_server
from rescind_sidecar.link.authority_client import AuthorityClient
from rescind_sidecar.link.transport import Transport
from rescind_sidecar.ports import AuthorityLink, InstanceKeys
from rescind_sidecar.ports import TrustStore as TrustStorePort
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.trust_store import FreshKeys, UpdatingTrustStore

EVENTS = 3


@dataclass(frozen=True)
class Linked:
    """A link to an authority whose ledger has `EVENTS` events, and what a sidecar needs for it.

    `token` is a token that the authority issued.
    """

    link: AuthorityLink
    trust_store: TrustStorePort
    keys: InstanceKeys
    credential: str
    token: str


Opened = AbstractAsyncContextManager[Linked]


@asynccontextmanager
async def ledger_in_memory() -> AsyncGenerator[Linked]:
    """Yield the link to the ledger in memory, without a transport."""
    link = LedgerInMemory()
    for number in range(EVENTS):
        link.revoke(f"tenant:{number}")
    trust = link.keyring.trust
    yield Linked(
        link,
        UpdatingTrustStore(Trust(trust.root, trust.signed_statement), wall_us=wall_us),
        FreshKeys(),
        "the ledger takes any",
        link.issue(),
    )


@asynccontextmanager
async def over_wire(wire: type[SimulatedTransport]) -> AsyncGenerator[Linked]:
    """Yield a link over one of the simulation's wires."""
    async with _serving() as (authority, actors):
        transport = wire(Host("sidecar"), Network(1), lambda: [authority], "1")
        yield _linked(transport, actors)


@asynccontextmanager
async def over_http() -> AsyncGenerator[Linked]:
    """Yield a link over HTTP, to the product's routes."""
    async with _serving() as (authority, actors):
        routes = SidecarRoutes(authority._sidecar_api, METRICS).routes()
        async with (
            http_server.serving(Starlette(routes=routes), "127.0.0.1:0") as url,
            links.http_to(url) as transport,
        ):
            yield _linked(transport, actors)


@asynccontextmanager
async def over_nats(nats_url: str) -> AsyncGenerator[Linked]:
    """Yield a link over NATS, to the product's subscriptions."""
    async with (
        _serving() as (authority, actors),
        links.nats_client(nats_url) as client,
        asyncio.TaskGroup() as tasks,
    ):
        requests = Requests(
            authority._sidecar_api, keys=Keys(), recent=authority.recent, metrics=METRICS
        )
        await requests.subscribe(client, tasks)
        await client.flush()
        async with links.nats_to(nats_url) as transport:
            yield _linked(transport, actors)


def _linked(transport: Transport, actors: Actors) -> Linked:
    return Linked(
        AuthorityClient(transport, Counters()),
        TrustStore(),
        RandomSource("keys"),
        actors.credential,
        actors.innocent.text,
    )


@asynccontextmanager
async def _serving() -> AsyncGenerator[tuple[Authority, Actors]]:
    """Run an authority over a Postgres in memory, in which tokens and events are stored."""
    cluster = Cluster(begun(term_ms=TERM_MS, at_us=now_us()), now_us=now_us)
    actors = Actors(Oracle(), cluster, authorities=list, check=lambda *_: None, seed=1)
    postgres = PostgresInMemory(cluster, _no_trip)
    async with postgres.begin() as transaction:
        await append(transaction, [_revocation(number) for number in range(EVENTS)])
    authority = Authority(
        Host("authority"), cluster, redis=Redis(), publish=lambda *_: None, seed="1"
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(authority.run())
        try:
            await eventually(lambda: _epoch(authority))
            yield authority, actors
        finally:
            authority.crash(running)


def _revocation(number: int) -> Revocation:
    return Revocation(f"rev_{number}", select([f"tenant:{number}"]), "revoke", "", "test")


async def _epoch(authority: Authority) -> int:
    """Return the epoch that the authority has read; 0 before it has read the ledger."""
    return authority.recent.epoch


async def _no_trip() -> None:
    await asyncio.sleep(0)
