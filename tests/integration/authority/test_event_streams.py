"""An event stream ends with its token, however the token ends."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from sse_starlette import ServerSentEvent
from tests.support.authority import Running, System, serving

from rescind_authority.http import events

Deed = Callable[[Running, str], Awaitable[object]]


def revoking(effect: str, **more: object) -> Deed:
    async def do(authority: Running, token_id: str) -> object:
        return await authority.revoke(f"token:{token_id}", effect=effect, **more)

    return do


def posting(path: str, **body: object) -> Deed:
    async def do(authority: Running, token_id: str) -> None:
        answer = await authority.http.post(path.format(token_id), json=body)
        assert answer.status_code == httpx2.codes.OK, answer.text

    return do


DEEDS: dict[str, Deed] = {
    "revoked": revoking("revoke"),
    "suspended": revoking("suspend"),
    "narrowed": revoking("narrow", scopes=["rescind:read"]),
    "narrowed by a pattern": revoking("narrow", scopes=["rescind:*"]),
    "expired": posting("/v1/tokens/{}/expire"),
    "rotated": posting("/v1/tokens/{}/rotate"),
}


async def reader(authority: Running, **facts: object) -> dict[str, str]:
    """Issue an admin token that reads."""
    return await authority.issue("admin:r", kind="admin", scopes=["rescind:read"], **facts)


@asynccontextmanager
async def stream(authority: Running, token: str) -> AsyncIterator[AsyncIterator[int]]:
    """Follow the ledger from now on, and give the seqs that come until the stream ends."""
    async with (
        authority.as_bearer(token) as client,
        client.stream("GET", "/v1/events", params={"since": "0"}) as response,
    ):
        assert response.status_code == httpx2.codes.OK
        yield seqs(response)


async def seqs(response: httpx2.Response) -> AsyncIterator[int]:
    async for line in response.aiter_lines():
        if line.startswith("data:"):
            yield json.loads(line.removeprefix("data:"))["seq"]


async def rest(of: AsyncIterator[int]) -> list[int]:
    """Return what still comes, until the server ends it well."""
    async with asyncio.timeout(30):
        return [seq async for seq in of]


async def test_a_stream_ends_with_its_token_and_sends_no_later_event(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_RECHECK_S", 3_600)  # the events alone are to end it
    async with serving(system) as authority:
        for how, deed in DEEDS.items():
            issued = await reader(authority)
            before = (await authority.revoke("subject:agent:x"))["seq"]
            async with stream(authority, issued["token"]) as coming:
                while await anext(coming) < before:
                    continue
                await deed(authority, issued["token_id"])
                for _ in range(3):
                    await authority.revoke("subject:agent:y")
                assert await rest(coming) == [], how


async def test_a_stream_ends_when_its_token_expires(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_RECHECK_S", 3_600)
    async with serving(system) as authority:
        await authority.revoke("subject:agent:x")
        issued = await reader(authority, ttl=1.5)
        async with stream(authority, issued["token"]) as coming:
            assert await rest(coming) == [1]


async def test_a_stream_whose_client_does_not_read_ends_with_its_token_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "_LAST_SEND_S", 0.01)
    ended, blocked, sent = asyncio.Event(), asyncio.Event(), list[str]()

    async def content() -> AsyncIterator[ServerSentEvent]:
        for number in range(3):
            yield ServerSentEvent(str(number))

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            blocked.set()
            await asyncio.Event().wait()

    async def receive() -> Any:
        await asyncio.Event().wait()

    async with asyncio.timeout(15), asyncio.TaskGroup() as tasks:
        stream = events._Stream(content(), stop_when=lambda: until(ended))
        tasks.create_task(stream({"type": "http", "method": "GET"}, receive, send))
        await blocked.wait()
        ended.set()
    assert sent == ["http.response.start", "http.response.body", "http.response.body"]


async def until(ended: asyncio.Event) -> None:
    await ended.wait()


async def test_a_stream_continues_when_another_token_ends(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_RECHECK_S", 3_600)
    async with serving(system) as authority:
        issued, other = await reader(authority), await reader(authority)
        async with stream(authority, issued["token"]) as coming:
            await authority.revoke("subject:agent:x")
            await authority.revoke(f"token:{other['token_id']}")
            assert [await anext(coming), await anext(coming)] == [1, 2]


async def test_a_token_that_cannot_be_looked_up_ends_the_stream_after_a_while(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_RECHECK_S", 0.1)
    monkeypatch.setattr(events, "_RETRY_S", 0.01)
    async with serving(system) as authority:
        issued = await reader(authority)
        async with stream(authority, issued["token"]) as coming:
            await system.shut()
            try:
                assert await rest(coming) == []
            finally:
                await system.open()
