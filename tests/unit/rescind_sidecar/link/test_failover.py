"""Two ways to the authority: what fails, hangs or comes back, and what the caller sees of it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from rescind.errors import UnreachableError
from rescind.wire import nats_subjects
from rescind_sidecar.link.failover import AuthorityRoute, FailoverTransport
from rescind_sidecar.link.transport import Accept, AuthorityBusyError, Handler, Transport
from rescind_sidecar.stats.counters import Counters


class Scripted:
    """A transport that works, fails or hangs, as told."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.connected = True
        self.state = "works"
        self.asked: list[str] = []
        self.came = asyncio.Event()

    async def run(
        self,
        *,
        on_events: Handler | None = None,
        on_wanted: Handler | None = None,
        on_connected: Callable[[], None] = lambda: None,
    ) -> None:
        if self.connected:
            on_connected()
        await asyncio.Event().wait()

    async def request(
        self, subject: str, payload: bytes, *, timeout_s: float, accept: Accept | None = None
    ) -> bytes:
        self.asked.append(subject)
        match self.state:
            case "fails":
                raise UnreachableError(f"{self.name.decode()} is away")
            case "hangs":
                await asyncio.sleep(timeout_s)
                raise UnreachableError(f"{self.name.decode()} is silent")
            case "busy":
                raise AuthorityBusyError(subject)
            case _:
                return self.name

    async def send(self, subject: str, payload: bytes) -> None:
        await self.request(subject, payload, timeout_s=0.2)


async def probe(way: Transport) -> None:
    await way.request(nats_subjects.RESOLVE, b"?", timeout_s=0.02)


class Link:
    """A failover between two scripted transports."""

    def __init__(self) -> None:
        self.nats, self.http = Scripted(b"nats"), Scripted(b"http")
        self.tally = Counters()
        self.connected = 0
        self.transport = FailoverTransport(
            self.nats, self.http, self.tally, probe=probe, probe_s=0.02
        )

    def _note(self) -> None:
        self.connected += 1

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["Link"]:
        async with asyncio.TaskGroup() as tasks:
            job = tasks.create_task(
                self.transport.run(
                    on_events=lambda _: None, on_wanted=lambda _: None, on_connected=self._note
                )
            )
            yield self
            job.cancel()

    async def look(self, *, timeout_s: float = 0.4) -> bytes:
        return await self.transport.request(nats_subjects.SINCE, b"?", timeout_s=timeout_s)

    async def until(self, way: AuthorityRoute) -> None:
        async with asyncio.timeout(5):
            while self.transport.route is not way:
                await asyncio.sleep(0.005)


async def test_nats_carries_all_requests_while_it_works() -> None:
    async with Link().running() as link:
        assert await link.look() == b"nats"
    assert (link.http.asked, link.tally.link_changes) == ([], 0)
    assert link.tally.carried == {"nats": 1}


@pytest.mark.parametrize("fault", ["fails", "hangs"])
async def test_a_request_that_fails_over_nats_goes_over_http_in_the_same_call(fault: str) -> None:
    async with Link().running() as link:
        link.nats.state = fault
        with capture_logs() as lines:
            assert [await link.look() for _ in range(3)] == [b"http"] * 3
            await link.transport.send(nats_subjects.ACK, b"!")
    # Only the first one paid for it; a probe may have come by.
    assert link.nats.asked.count(nats_subjects.SINCE) == 1
    assert [line["action"] for line in lines] == ["link.changed"]
    assert (lines[0]["link"], link.transport.pushes) == ("http", False)
    assert link.tally.carried == {"http": 4}


async def test_concurrent_requests_while_nats_hangs_make_one_change() -> None:
    async with Link().running() as link:
        link.nats.state = "hangs"
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(link.look()) for _ in range(20)]
    assert {each.result() for each in asked} == {b"http"}
    assert link.tally.link_changes == 1


async def test_the_link_returns_to_nats_by_itself_and_triggers_a_heartbeat_at_once() -> None:
    async with Link().running() as link:
        link.nats.state = "fails"
        await link.look()
        link.nats.state = "works"
        before = link.connected
        with capture_logs() as lines:
            await link.until(AuthorityRoute.NATS)
        assert link.connected == before + 1
        assert await link.look() == b"nats"
    assert [(line["action"], line["link"]) for line in lines] == [("link.changed", "nats")]


async def test_the_link_does_not_return_to_nats_while_the_authority_cannot_answer_there() -> None:
    async with Link().running() as link:
        link.nats.state = "fails"
        await link.look()
        link.nats.state = "busy"
        async with asyncio.timeout(5):
            while link.nats.asked.count(nats_subjects.RESOLVE) < 3:
                await asyncio.sleep(0.005)
        assert link.transport.route is AuthorityRoute.HTTP


async def test_not_now_is_an_answer_and_is_not_asked_again_over_http() -> None:
    async with Link().running() as link:
        link.nats.state = "busy"
        with pytest.raises(AuthorityBusyError):
            await link.look()
    assert (link.http.asked, link.transport.route) == ([], AuthorityRoute.NATS)


async def test_a_later_failure_of_http_leads_back_to_nats_in_the_same_call() -> None:
    async with Link().running() as link:
        link.nats.state = "fails"
        await link.look()
        link.nats.state, link.http.state = "works", "fails"
        assert await link.look() == b"nats"
        assert link.transport.route is AuthorityRoute.NATS


async def test_without_either_link_the_deadline_holds_and_nothing_changes() -> None:
    async with Link().running() as link:
        link.nats.state = link.http.state = "hangs"
        with capture_logs() as lines:
            async with asyncio.timeout(1):
                with pytest.raises(UnreachableError):
                    await link.look(timeout_s=0.2)
    assert (lines, link.tally.carried) == ([], {})


async def test_a_nats_that_was_never_connected_is_waited_for_half_a_second() -> None:
    link = Link()
    link.nats.connected, link.nats.state = False, "fails"
    async with link.running():
        assert await link.look(timeout_s=3) == b"http"
        # From then on no request waits for NATS, and HTTP has the whole deadline.
        assert await link.look(timeout_s=0.1) == b"http"


async def test_without_an_authority_url_only_nats_is_used() -> None:
    nats = Scripted(b"nats")
    transport = FailoverTransport(nats, None, Counters(), probe=probe)
    assert await transport.request(nats_subjects.SINCE, b"?", timeout_s=1) == b"nats"
    nats.state = "fails"
    with pytest.raises(UnreachableError, match="nats is away"):
        await transport.request(nats_subjects.SINCE, b"?", timeout_s=1)
