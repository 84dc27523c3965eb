"""The port Transport of the sidecar: bytes to an authority and back, over each way."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from tests.contracts import links
from tests.contracts.links import SUBJECTS, Linked, Peer
from tests.simulation.network import Host, Network
from tests.simulation.sidecar import SimulatedNatsTransport
from tests.support.outcomes import soon

from rescind.errors import UnreachableError
from rescind.wire import nats_subjects
from rescind_sidecar.link.http_transport import HttpTransport
from rescind_sidecar.link.nats_transport import NatsTransport
from rescind_sidecar.link.transport import AuthorityBusyError, Transport

LONG_S = 30.0
SHORT_S = 0.2
BYTES = bytes(range(256)) * 8


@pytest.fixture(params=["memory-http", "memory-nats", "http", "nats", "failover"])
def linked(request: pytest.FixtureRequest) -> Linked:
    """Return how to make a transport to authorities of the test."""
    return _linked(request)


@pytest.fixture(params=["memory-nats", "nats"])
def linked_by_nats(request: pytest.FixtureRequest) -> Linked:
    return _linked(request)


def _linked(request: pytest.FixtureRequest) -> Linked:
    ways: dict[str, Callable[[], Linked]] = {
        "memory-http": lambda: links.http_in_memory,
        "memory-nats": lambda: links.nats_in_memory,
        "http": lambda: links.over_http,
        "nats": lambda: partial(links.over_nats, nats_url=_nats(request)),
        "failover": lambda: partial(links.over_either, nats_url=_nats(request)),
    }
    return ways[request.param]()


def _nats(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("servers")["nats"])


def answering(*answers: bytes) -> Peer:
    """Return an authority that gives these answers to each message."""

    async def given(_subject: str, _payload: bytes) -> list[bytes]:
        return list(answers)

    return Peer(given)


def silent() -> Peer:
    """Return an authority that never answers."""

    peer = Peer()

    async def wait(_subject: str, _payload: bytes) -> list[bytes]:
        await peer.over.wait()
        return [b""]

    peer.answers = wait
    return peer


async def asked(
    transport: Transport,
    subject: str = nats_subjects.SINCE,
    *,
    timeout_s: float = LONG_S,
    accept: Callable[[bytes], bool] | None = None,
) -> bytes:
    return await transport.request(subject, b"?", timeout_s=timeout_s, accept=accept)


async def failed(asking: Awaitable[object]) -> UnreachableError:
    """Return the error of a message that gets no answer."""
    with pytest.raises(UnreachableError) as error:
        await asking
    return error.value


# Answers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", SUBJECTS)
async def test_a_message_arrives_whole_and_so_does_its_answer(linked: Linked, subject: str) -> None:
    peer = Peer()
    async with linked(peer) as transport:
        # A look-up is never asked without: over NATS any client may answer it first.
        answer = await transport.request(subject, BYTES, timeout_s=LONG_S, accept=BYTES.__eq__)
        assert answer == BYTES
        assert peer.messages.get_nowait() == (subject, BYTES)


async def test_each_of_many_messages_gets_its_own_answer(linked: Linked) -> None:
    payloads = [number.to_bytes(2) for number in range(50)]
    async with linked(Peer()) as transport, asyncio.TaskGroup() as tasks:
        answers = [
            tasks.create_task(transport.request(nats_subjects.SINCE, each, timeout_s=LONG_S))
            for each in payloads
        ]
    assert [each.result() for each in answers] == payloads


async def test_an_empty_answer_is_that_of_a_busy_authority(linked: Linked) -> None:
    async with linked(answering(b"")) as transport:
        assert isinstance(await failed(asked(transport)), AuthorityBusyError)


async def test_a_silent_authority_costs_at_most_the_deadline(linked: Linked) -> None:
    async with linked(silent()) as transport:
        began_s = time.monotonic()
        error = await failed(asked(transport, timeout_s=SHORT_S))
        took_s = time.monotonic() - began_s
    assert not isinstance(error, AuthorityBusyError)
    assert took_s >= SHORT_S * 0.9
    soon(took_s, at_most_s=SHORT_S + 0.5)


async def test_without_an_authority_the_error_comes_at_once(linked: Linked) -> None:
    async with linked() as transport:
        began_s = time.monotonic()
        error = await failed(asked(transport))
        took_s = time.monotonic() - began_s
    assert not isinstance(error, AuthorityBusyError)
    soon(took_s, at_most_s=LONG_S / 10)


async def test_an_authority_may_answer_after_it_was_silent(linked: Linked) -> None:
    peer = silent()
    async with linked(peer) as transport:
        await failed(asked(transport, timeout_s=SHORT_S))
        peer.answers = answering(b"here").answers
        assert await asked(transport) == b"here"


# Answers that are not accepted -------------------------------------------------------------------


async def test_the_accepted_answer_is_returned(linked: Linked) -> None:
    async with linked(answering(b"right")) as transport:
        assert await asked(transport, accept=b"right".__eq__) == b"right"


@pytest.mark.parametrize("wrong", [b"wrong", b""])
async def test_an_answer_that_is_not_accepted_is_ignored(linked: Linked, wrong: bytes) -> None:
    async with linked(answering(wrong)) as transport:
        await failed(asked(transport, timeout_s=SHORT_S, accept=b"right".__eq__))


async def test_a_wrong_answer_does_not_make_an_authority_busy(linked: Linked) -> None:
    async with linked(answering(b"wrong")) as transport:
        error = await failed(asked(transport, timeout_s=SHORT_S, accept=b"right".__eq__))
    assert not isinstance(error, AuthorityBusyError)


async def test_an_accepted_not_now_ends_the_wait_as_busy(linked: Linked) -> None:
    def accept(_: bytes) -> bool:
        raise AuthorityBusyError(nats_subjects.RESOLVE)

    async with linked(answering(b"not now")) as transport:
        error = await failed(asked(transport, nats_subjects.RESOLVE, accept=accept))
    assert isinstance(error, AuthorityBusyError)


async def test_over_nats_the_right_answer_counts_after_wrong_ones(
    linked_by_nats: Linked,
) -> None:
    async with linked_by_nats(answering(b"", b"wrong", b"right")) as transport:
        assert await asked(transport, accept=b"right".__eq__) == b"right"


async def test_over_nats_the_first_of_several_answers_is_returned(
    linked_by_nats: Linked,
) -> None:
    async def both(_subject: str, _payload: bytes) -> list[bytes]:
        return [b"same", b"same"]

    async with linked_by_nats(Peer(both)) as transport:
        assert [await asked(transport) for _ in range(2)] == [b"same"] * 2


# Messages without an answer ----------------------------------------------------------------------


@pytest.mark.parametrize("subject", [nats_subjects.ACK, nats_subjects.HEARTBEAT])
async def test_a_message_without_an_answer_arrives(linked: Linked, subject: str) -> None:
    peer = Peer()
    async with linked(peer) as transport, asyncio.timeout(LONG_S):
        await transport.send(subject, BYTES)
        assert await peer.messages.get() == (subject, BYTES)


async def test_the_sender_does_not_wait_for_a_silent_authority_over_nats(
    linked_by_nats: Linked,
) -> None:
    async with linked_by_nats(silent()) as transport, asyncio.timeout(LONG_S):
        await transport.send(nats_subjects.ACK, b"!")


async def test_over_nats_every_authority_receives_an_acknowledgement(
    linked_by_nats: Linked,
) -> None:
    peers = [Peer(), Peer(host=Host("another"))]
    async with linked_by_nats(*peers) as transport, asyncio.timeout(LONG_S):
        await transport.send(nats_subjects.ACK, b"!")
        assert [await each.messages.get() for each in peers] == [(nats_subjects.ACK, b"!")] * 2


@pytest.mark.parametrize("subject", [nats_subjects.ACK, nats_subjects.HEARTBEAT])
async def test_over_nats_a_message_without_a_listener_is_lost(
    linked_by_nats: Linked, subject: str
) -> None:
    async with linked_by_nats() as transport, asyncio.timeout(LONG_S):
        await transport.send(subject, b"!")


@pytest.mark.parametrize("way", ["memory-http", "http"])
async def test_over_http_a_message_without_a_listener_is_an_error(way: str) -> None:
    linked = links.http_in_memory if way == "memory-http" else links.over_http
    async with linked() as transport:
        await failed(transport.send(nats_subjects.ACK, b"!"))


# A way that is away ------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["memory-nats", "nats", "http"])
async def test_over_an_unavailable_link_nothing_is_sent_and_the_error_comes_at_once(
    way: str,
) -> None:
    ways: dict[str, Callable[[], Transport]] = {
        "memory-nats": lambda: SimulatedNatsTransport(
            Host("s", nats="gone"), Network(1), list, "1"
        ),
        "nats": lambda: NatsTransport("nats://127.0.0.1:9", name="test"),
        "http": lambda: HttpTransport([links.NOWHERE]),
    }
    transport = ways[way]()
    async with asyncio.timeout(LONG_S / 10):
        await failed(asked(transport))
        await failed(transport.send(nats_subjects.ACK, b"!"))


@pytest.mark.parametrize("way", ["memory", "nats"])
async def test_a_pushing_transport_reports_whether_it_is_connected(
    way: str, servers: dict[str, object]
) -> None:
    if way == "memory":
        host = Host("sidecar", nats="gone")
        wire = SimulatedNatsTransport(host, Network(1), list, "1")
        assert not wire.connected
        host.nats = "works"
        assert wire.connected
        return
    assert not NatsTransport(str(servers["nats"]), name="test").connected
    async with links.nats_to(str(servers["nats"])) as transport:
        assert transport.connected


# HTTP alone --------------------------------------------------------------------------------------


async def test_over_http_the_next_authority_is_asked_for_an_accepted_answer() -> None:
    async with links.over_http(answering(b"wrong"), answering(b"right")) as transport:
        assert await asked(transport, accept=b"right".__eq__) == b"right"


async def test_over_http_the_next_authority_is_asked_when_one_is_busy() -> None:
    async with links.over_http(answering(b""), answering(b"here")) as transport:
        assert await asked(transport) == b"here"


async def test_over_http_an_answer_over_a_mebibyte_is_refused() -> None:
    async with links.over_http(answering(bytes((1 << 20) + 1))) as transport:
        error = await failed(asked(transport))
    assert "over 1048576 bytes" in str(error)
