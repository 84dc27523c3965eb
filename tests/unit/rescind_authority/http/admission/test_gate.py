"""What clients get before they have proven anything: a few turns, and so many bytes."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from rescind.core.token_format import Kind
from rescind_authority.errors import OverloadedError
from rescind_authority.http.admission import gate, middleware
from rescind_authority.http.admission.gate import Bodies, BodyTooLargeError, Gate
from rescind_authority.http.admission.middleware import (
    MAX_BODY_BYTES,
    UNPROVEN_BODY_BYTES,
    AdmissionMiddleware,
)
from rescind_runtime.net.connection_limits import SCOPE_KEY

OURS, ADMIN = "ours", "admins"


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_waiting_peers_are_admitted_in_turn() -> None:
    door, seen = Gate(1), list[str]()

    async def enter(peer: str) -> None:
        async with door.turn(peer):
            seen.append(peer)

    async with asyncio.TaskGroup() as tasks, door.turn("first"):
        for peer in ("a", "a", "a", "a", "b", "c", "b"):
            tasks.create_task(enter(peer))
        await settled()
        assert seen == []
    assert seen == ["a", "b", "c", "a", "b", "a", "a"]


async def test_requests_that_need_not_wait_are_spread_over_rounds_of_the_event_loop() -> None:
    door, entered = Gate(3), 0

    async def enter() -> None:
        nonlocal entered
        async with door.turn("a"):
            entered += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(100):
            tasks.create_task(enter())
        most = 0
        while entered < 100:
            before = entered
            await asyncio.sleep(0)
            most = max(most, entered - before)
    assert most == 3


async def test_a_caller_that_is_cancelled_while_waiting_keeps_no_turn() -> None:
    door = Gate(1)

    async def enter() -> None:
        async with door.turn("a"):
            pass

    async with asyncio.TaskGroup() as tasks:
        async with door.turn("a"):
            early, late = tasks.create_task(enter()), tasks.create_task(enter())
            await settled()
            early.cancel()
            await settled()
        late.cancel()  # in the very moment when its turn has come
    async with asyncio.timeout(1), door.turn("b"):
        pass


async def test_a_turn_that_does_not_come_in_time_is_reported_as_overload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "_MAX_WAIT_S", 0.01)
    door = Gate(1)
    async with door.turn("a"):
        with pytest.raises(OverloadedError):
            async with door.turn("b"):
                pass
    async with asyncio.timeout(1), door.turn("b"):
        pass


class Sender:
    """A body that comes as the test says; `None` is the client's going."""

    def __init__(self) -> None:
        self.chunks: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def __call__(self) -> dict[str, Any]:
        chunk = await self.chunks.get()
        if chunk is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": chunk != b""}


async def test_when_bodies_exceed_the_bound_the_one_that_has_been_arriving_longest_is_refused() -> (
    None
):
    bodies = Bodies(100)
    senders = [Sender() for _ in range(3)]

    async def read(sender: Sender) -> int:
        with bodies.body() as body:
            await body.read(sender, limit_bytes=90)
            await asyncio.sleep(0)
            return len(body.content)

    async with asyncio.TaskGroup() as tasks:
        first, second, third = [tasks.create_task(refused(read, each)) for each in senders]
        for sender in senders:
            sender.chunks.put_nowait(bytes(45))
            await settled()
        assert bodies.bytes == 90  # the first was cut for the third
        for sender in senders:
            sender.chunks.put_nowait(b"")
    assert [first.result(), second.result(), third.result()] == ["OverloadedError", "45", "45"]
    assert bodies.bytes == 0


async def refused(read: Callable[[Sender], Any], sender: Sender) -> str:
    try:
        return str(await read(sender))
    except (OverloadedError, BodyTooLargeError) as error:
        return type(error).__name__


async def test_a_body_over_its_limit_is_not_kept_and_a_disconnected_client_leaves_none() -> None:
    bodies = Bodies(100)
    for chunks, outcome in (
        ([bytes(50), bytes(50)], "BodyTooLargeError"),
        ([bytes(50), None], "False"),
        ([bytes(50), b""], "True"),
    ):
        sender = Sender()
        for chunk in chunks:
            sender.chunks.put_nowait(chunk)

        async def read(sender: Sender) -> bool:
            with bodies.body() as body:
                return await body.read(sender, limit_bytes=90)

        assert await refused(read, sender) == outcome
        assert bodies.bytes == 0


# Around an application -----------------------------------------------------------------------


class Application:
    """Answer when it may."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.working = 0
        kinds: dict[str | None, Kind] = {OURS: Kind.AGENT, ADMIN: Kind.ADMIN}
        self.app = AdmissionMiddleware(self, find_own_kind=kinds.get)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.working += 1
        await self.free.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask(
        self,
        path: str = "/",
        *,
        token: str | None = None,
        body: bytes = b"",
        announced: bool = True,
        connection: object = None,
    ) -> int:
        """Send a request, and return the status of its answer."""
        headers = [] if token is None else [(b"authorization", b"Bearer " + token.encode())]
        if announced:
            headers.append((b"content-length", str(len(body)).encode()))
        scope: dict[str, Any] = {
            "type": "http",
            "path": path,
            "headers": headers,
            "client": ("192.0.2.1", 1),
        }
        scope |= {} if connection is None else {SCOPE_KEY: connection}
        sender, statuses = Sender(), list[int]()
        for chunk in (body, b"") if body else (b"",):
            sender.chunks.put_nowait(chunk)

        async def send(message: Any) -> None:
            statuses.extend([message["status"]] if "status" in message else [])

        await self.app(scope, sender, send)
        return statuses[0]


async def test_during_a_flood_genuine_tokens_and_health_checks_need_no_turn() -> None:
    application = Application()
    async with asyncio.TaskGroup() as tasks:
        flood = [tasks.create_task(application.ask("/v1/tokens")) for _ in range(100)]
        flood += [tasks.create_task(application.ask("/v1/x", token="other")) for _ in range(100)]
        await settled()
        assert application.working == middleware._UNPROVEN_AT_ONCE
        tasks.create_task(application.ask("/v1/revocations", token=OURS))
        tasks.create_task(application.ask("/healthz"))
        tasks.create_task(application.ask("/readyz"))
        await settled()
        assert application.working == middleware._UNPROVEN_AT_ONCE + 3
        application.free.set()
    assert {each.result() for each in flood} == {200}


async def test_a_client_that_does_not_read_the_answer_keeps_no_turn() -> None:
    application, stuck = Application(), asyncio.Event()
    application.free.set()
    scope: dict[str, Any] = {"type": "http", "path": "/", "headers": [], "client": None}
    sender = Sender()

    async def send(message: Any) -> None:
        await stuck.wait()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(middleware._UNPROVEN_AT_ONCE):
            sender.chunks.put_nowait(b"")
            tasks.create_task(application.app(scope, sender, send))
        await settled()
        assert await application.ask() == 200
        stuck.set()


@pytest.mark.parametrize("announced", [True, False])
async def test_without_a_genuine_token_only_a_small_body_is_accepted(announced: bool) -> None:
    application = Application()
    application.free.set()
    offer = middleware._OFFER
    for path, token, size, status in (
        ("/v1/revocations", None, UNPROVEN_BODY_BYTES, 200),
        ("/v1/revocations", None, UNPROVEN_BODY_BYTES + 1, 413),
        ("/v1/revocations", "other", UNPROVEN_BODY_BYTES + 1, 413),
        ("/v1/revocations", OURS, MAX_BODY_BYTES, 200),
        ("/v1/revocations", OURS, MAX_BODY_BYTES + 1, 413),
        (offer, None, MAX_BODY_BYTES, 200),
        (offer, None, MAX_BODY_BYTES + 1, 413),
    ):
        body = b" " * size
        answered = await application.ask(path, token=token, body=body, announced=announced)
        assert answered == status, (path, token, size)


class Connection:
    """The connection of a request, as far as an application sees it."""

    def __init__(self) -> None:
        self.owner: str | None = None

    def prove(self, owner: str) -> None:
        """Record who it is."""
        self.owner = owner


@pytest.mark.parametrize(("token", "proven"), [(ADMIN, True), (OURS, False), ("other", False)])
async def test_a_connection_of_an_admin_counts_as_authenticated_before_its_body_is_read(
    token: str, proven: bool
) -> None:
    application, connection = Application(), Connection()
    application.free.set()
    await application.ask(token=token, connection=connection)
    assert (connection.owner is not None) == proven
    assert token not in str(connection.owner)  # nowhere is the secret kept
