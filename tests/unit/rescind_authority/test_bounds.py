"""What an authority keeps is bounded, and what happens at the bound is what the page says."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any, cast

import httpx2
import pytest
from starlette.applications import Starlette
from tests.support.messages import BARE_RECORD, EVENT, HEAD, NEXT_HEAD

from rescind.core.handles import Handle
from rescind.wire import signed_envelope
from rescind.wire.events import Batch
from rescind.wire.signed_envelope import SignedEnvelope
from rescind_authority.http import sidecar_routes
from rescind_authority.http.sidecar_routes import SidecarRoutes
from rescind_authority.nats import sidecar_requests
from rescind_authority.nats.publisher import _CAPACITY as MAX_BATCHES
from rescind_authority.nats.publisher import NatsPublisher
from rescind_authority.nats.sidecar_requests import Requests
from rescind_authority.ports.token_search import BlastRadius
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.redis.record_cache import _CAPACITY as MAX_RECORDS
from rescind_authority.redis.record_cache import RedisRecordWriter
from rescind_authority.usecases.access import authoriser as authorise
from rescind_authority.usecases.access.authoriser import Authoriser
from rescind_authority.usecases.revocations import hit_counts
from rescind_authority.usecases.revocations.hit_counts import HitCounter
from rescind_authority.usecases.sidecar_api import EMPTY
from rescind_runtime.links import RedisLink
from rescind_runtime.net import nats_connection

NOTHING = cast("Any", None)
MESSAGE = signed_envelope.encode(SignedEnvelope(b"", bytes(16), bytes(32)))
BATCH = Batch(epoch=3, first_seq=1, before=HEAD, after=NEXT_HEAD, awaited=False, payloads=(b"",))


def counted(metrics: PrometheusMetrics, name: str) -> float:
    lines = metrics.render().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def test_batches_beyond_the_bound_are_dropped_and_counted() -> None:
    metrics = PrometheusMetrics()
    publisher = NatsPublisher(NOTHING, metrics)
    for _ in range(MAX_BATCHES + 7):
        publisher.announce(BATCH)
    assert counted(metrics, "rescind_authority_unannounced_batches_total") == 7


def test_records_for_redis_beyond_the_bound_are_dropped_and_counted() -> None:
    metrics = PrometheusMetrics()
    shared = RedisRecordWriter(RedisLink("redis://127.0.0.1:1"), metrics)
    record = replace(BARE_RECORD, expires_at_us=10**9)
    for _ in range(MAX_RECORDS + 7):
        shared.keep(record, b"", now_us=0)
    assert counted(metrics, 'rescind_authority_shared_records_total{outcome="lost"}') == 7


def test_beyond_the_bound_the_oldest_refused_token_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(authorise, "_MAX_REFUSED", 3)
    authoriser = Authoriser(NOTHING, edge_keys=NOTHING, prefix="rsc")
    for number in range(5):
        authoriser._remember_outcome(bytes([number]), refused=True)
    authoriser._remember_outcome(bytes([4]), refused=False)
    assert list(authoriser._refused) == [bytes([2]), bytes([3])]


@dataclass
class Message:
    """A request that came over NATS."""

    subject: str
    data: bytes = b""
    reply: str = "here"
    answers: list[bytes] = field(default_factory=list[bytes])

    async def respond(self, answer: bytes) -> None:
        self.answers.append(answer)


class SlowSidecarApi:
    """A sidecar API that answers nothing before it is told to."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def _answer(self, payload: bytes) -> bytes:
        await self.go_on.wait()
        return b"answer"

    heartbeat = look_up = enrol = since = offer = _answer

    def ack(self, payload: bytes) -> None:
        pass

    used = ack

    def answer_unavailable(self, payload: bytes) -> bytes:
        return b"not now"


@pytest.mark.parametrize(
    ("subject", "bound", "refusal"),
    [
        ("heartbeat", "_MAX_HEARTBEATS", EMPTY),
        ("resolve", "_MAX_LOOKUPS", b"not now"),
        ("since", "_MAX_SINCE", EMPTY),
        ("offer", "_MAX_OFFERS", EMPTY),
        ("enrol", "_MAX_ENROLMENTS", EMPTY),
    ],
)
async def test_requests_over_nats_beyond_the_bound_are_refused_at_once_and_take_no_other_s_place(
    monkeypatch: pytest.MonkeyPatch, subject: str, bound: str, refusal: bytes
) -> None:
    monkeypatch.setattr(sidecar_requests, bound, 2)
    handlers: dict[str, nats_connection.Handler] = {}

    async def subscribe(_client: object, subject: str, handler: Any, *, queue: str = "") -> None:
        handlers[subject.rpartition(".")[2]] = handler

    monkeypatch.setattr(nats_connection, "subscribe", subscribe)
    sidecar_api = SlowSidecarApi()
    served = Requests(
        cast("Any", sidecar_api), keys=NOTHING, recent=NOTHING, metrics=PrometheusMetrics()
    )
    messages = [Message(subject) for _ in range(4)]
    other = Message("heartbeat" if subject != "heartbeat" else "since")
    async with asyncio.TaskGroup() as tasks:
        await served.subscribe(NOTHING, tasks)
        for message in (*messages, other):
            await handlers[message.subject](cast("Any", message))
        assert [message.answers for message in messages] == [[], [], [refusal], [refusal]]
        assert other.answers == []
        sidecar_api.go_on.set()
    assert [message.answers for message in (*messages[:2], other)] == [[b"answer"]] * 3


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("heartbeat", "_MAX_HEARTBEATS"),
        ("resolve", "_MAX_LOOKUPS"),
        ("since", "_MAX_SINCE"),
        ("offer", "_MAX_OFFERS"),
        ("enrol", "_MAX_ENROLMENTS"),
    ],
)
async def test_requests_over_http_beyond_the_bound_get_an_empty_answer_at_once(
    monkeypatch: pytest.MonkeyPatch, name: str, bound: str
) -> None:
    monkeypatch.setattr(sidecar_routes, bound, 2)
    sidecar_api = SlowSidecarApi()
    routes = SidecarRoutes(cast("Any", sidecar_api), PrometheusMetrics()).routes()
    app = Starlette(routes=routes)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://test"
    ) as client:
        asked = [
            asyncio.create_task(client.post(f"/link/v1/{name}", content=MESSAGE)) for _ in range(4)
        ]
        done, under_way = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 2:
            more, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        assert [task.result().status_code for task in done] == [204, 204]
        sidecar_api.go_on.set()
        assert [(await task).content for task in under_way] == [b"answer"] * 2


class SlowTokens:
    """A table in which a count takes as long as a test likes."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.under_way = 0
        self.most = 0

    async def radius(self, handles: Collection[Handle], **_: object) -> BlastRadius:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.go_on.wait()
        self.under_way -= 1
        return BlastRadius(1, exact=True, subjects=1, delegated=0, used=0, services=())


async def test_counts_beyond_the_bound_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hit_counts, "_MAX_WAITING", 6)
    table = SlowTokens()
    counting = HitCounter(cast("Any", table), revocations=NOTHING)
    asked = [
        asyncio.create_task(counting.count(replace(EVENT, seq=seq), deadline_s=60))
        for seq in range(1, 9)
    ]
    while table.under_way < hit_counts._AT_ONCE:
        await asyncio.sleep(0)
    refused = [task for task in asked if task.done()]
    assert [task.result() for task in refused] == [None] * 2
    table.go_on.set()
    assert [hit and hit.tokens for hit in await asyncio.gather(*asked[:6])] == [1] * 6
    assert table.most == hit_counts._AT_ONCE
