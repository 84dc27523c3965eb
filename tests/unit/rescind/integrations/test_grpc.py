"""The interceptors of gRPC servers admit, refuse, and end calls with their token."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Protocol

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from tests.support.eventually import eventually

from rescind.errors import ScopeError
from rescind.integrations import grpc as integration
from rescind.integrations.grpc import RECORD, RescindInterceptor, ThreadRescindInterceptor
from rescind.testing import FakeVerifier

SERVICE = "search.Search"
DEADLINE_S = 10.0


class Service:
    """Handlers of `grpc.aio` that revoke their caller's token while they work."""

    def __init__(self, verifier: FakeVerifier) -> None:
        self.verifier = verifier
        self.ended: list[str] = []

    async def find(self, request: bytes, context: Any) -> bytes:
        return RECORD.get().subject.encode()

    async def find_slowly(self, request: bytes, context: Any) -> bytes:
        self.verifier.revoke("subject:agent:a")
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.append("find_slowly")
        return b""

    async def watch(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield RECORD.get().subject.encode()
        try:
            self.verifier.revoke("subject:agent:a")
            await asyncio.Event().wait()
        finally:
            self.ended.append("watch")

    async def write(self, request: bytes, context: Any) -> None:
        await context.write(b"1")
        self.verifier.narrow("subject:agent:a", remove={"search"})
        await asyncio.Event().wait()

    async def upload(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b"".join([each async for each in requests])

    async def chat(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for each in requests:
            yield each
            self.verifier.leased = False

    async def fail(self, request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "the handler's own")
        return b""


class ThreadService:
    """The same handlers, for threads."""

    def __init__(self, verifier: FakeVerifier) -> None:
        self.verifier = verifier
        self.ended: list[str] = []

    def find(self, request: bytes, context: Any) -> bytes:
        return RECORD.get().subject.encode()

    def find_slowly(self, request: bytes, context: Any) -> bytes:
        self.verifier.revoke("subject:agent:a")
        self.ended.append("find_slowly")
        return b"found"

    def watch(self, request: bytes, context: Any) -> Iterator[bytes]:
        yield RECORD.get().subject.encode()
        over = threading.Event()
        context.add_callback(over.set)
        self.verifier.revoke("subject:agent:a")
        over.wait(DEADLINE_S)
        self.ended.append("watch")

    def write(self, request: bytes, context: Any) -> Iterator[bytes]:
        yield b"1"
        self.verifier.narrow("subject:agent:a", remove={"search"})
        yield b"2"

    def upload(self, requests: Iterator[bytes], context: Any) -> bytes:
        return b"".join(requests)

    def chat(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        for each in requests:
            yield each
            self.verifier.leased = False

    def fail(self, request: bytes, context: Any) -> bytes:
        context.abort(grpc.StatusCode.NOT_FOUND, "the handler's own")
        return b""


def handlers(service: Any) -> tuple[grpc.GenericRpcHandler, ...]:
    methods: dict[str, Any] = {
        "Find": grpc.unary_unary_rpc_method_handler(service.find),
        "Save": grpc.unary_unary_rpc_method_handler(service.find),
        "Forgotten": grpc.unary_unary_rpc_method_handler(service.find),
        "FindSlowly": grpc.unary_unary_rpc_method_handler(service.find_slowly),
        "Watch": grpc.unary_stream_rpc_method_handler(service.watch),
        "Write": grpc.unary_stream_rpc_method_handler(service.write),
        "Upload": grpc.stream_unary_rpc_method_handler(service.upload),
        "Chat": grpc.stream_stream_rpc_method_handler(service.chat),
        "Fail": grpc.unary_unary_rpc_method_handler(service.fail),
    }
    open_methods: dict[str, Any] = {"Check": grpc.unary_unary_rpc_method_handler(service.fail)}
    return (
        grpc.method_handlers_generic_handler(SERVICE, methods),
        grpc.method_handlers_generic_handler("grpc.health.v1.Health", open_methods),
    )


METHODS = {
    f"/{SERVICE}/{name}": {"write"} if name == "Save" else set[str]()
    for name in ("Find", "Save", "FindSlowly", "Watch", "Write", "Upload", "Chat", "Fail")
}


class Ended(Protocol):
    ended: list[str]


class Client:
    """A client of one server, with the service behind it."""

    def __init__(self, channel: grpc.aio.Channel, service: Ended, *, threads: bool) -> None:
        self.channel = channel
        self.service = service
        self.threads = threads

    async def call(
        self, method: str, *tokens: str, send: bytes = b"", path: str = f"/{SERVICE}/"
    ) -> bytes:
        sending: Any = self.channel.unary_unary(path + method)
        answer: bytes = await sending(send, metadata=metadata(*tokens), timeout=DEADLINE_S)
        return answer

    async def refusal(self, method: str, *tokens: str) -> "Refused":
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await self.call(method, *tokens)
        return Refused(error.value)

    async def stream(self, method: str, token: str) -> tuple[list[bytes], "Refused"]:
        receiving: Any = self.channel.unary_stream(f"/{SERVICE}/{method}")
        received: list[bytes] = []
        try:
            async for each in receiving(b"", metadata=metadata(token), timeout=DEADLINE_S):
                received.append(each)  # noqa: PERF401 - what came before the error counts
        except grpc.aio.AioRpcError as error:
            return received, Refused(error)
        raise AssertionError(received)


class Refused:
    """How a call was refused."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code()
        self.details = error.details()
        self.metadata = dict(error.trailing_metadata() or ())

    @property
    def reason(self) -> object:
        return self.metadata.get("x-rescind-reason")


def metadata(*tokens: str) -> tuple[tuple[str, str], ...]:
    return tuple(("authorization", f"Bearer {token}") for token in tokens)


@pytest.fixture
def verifier() -> FakeVerifier:
    return FakeVerifier(audience="search")


@pytest_asyncio.fixture(params=["aio", "threads"])
async def client(request: pytest.FixtureRequest, verifier: FakeVerifier) -> AsyncIterator[Client]:
    start: Callable[[FakeVerifier], Any] = _aio if request.param == "aio" else _threads
    async with start(verifier) as client:
        yield client
    assert verifier._supervisor._registered == set()
    assert not verifier.closed, "it belongs to the test"


@asynccontextmanager
async def _aio(verifier: FakeVerifier) -> AsyncIterator[Client]:
    interceptor = RescindInterceptor(verifier, require={"search"}, methods=METHODS)
    service = Service(verifier)
    server = grpc.aio.server(interceptors=[interceptor])
    server.add_generic_rpc_handlers(handlers(service))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Client(channel, service, threads=False)
    await server.stop(None)
    interceptor.close()


@asynccontextmanager
async def _threads(verifier: FakeVerifier) -> AsyncIterator[Client]:
    interceptor = ThreadRescindInterceptor(verifier, require={"search"}, methods=METHODS)
    service = ThreadService(verifier)
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool, interceptors=[interceptor])
        server.add_generic_rpc_handlers(handlers(service))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Client(channel, service, threads=True)
        await asyncio.to_thread(server.stop(None).wait)
    interceptor.close()


async def test_a_good_token_reaches_the_handler_with_its_record(
    client: Client, verifier: FakeVerifier
) -> None:
    token = verifier.issue(subject="agent:a", scopes={"search"}).token
    other = verifier.issue(subject="agent:b", scopes={"search"}).token
    for _ in range(3):
        assert await client.call("Find", token) == b"agent:a"
        assert await client.call("Find", other) == b"agent:b"


async def test_a_call_without_a_good_token_is_unauthenticated(
    client: Client, verifier: FakeVerifier
) -> None:
    missing = await client.refusal("Find")
    assert (missing.code, missing.reason) == (grpc.StatusCode.UNAUTHENTICATED, "missing")
    assert missing.details == "No bearer token was sent."
    assert missing.metadata["www-authenticate"] == 'Bearer realm="rescind"'
    good = verifier.issue(scopes={"search"}).token
    for tokens in (("nonsense",), (good, good)):
        malformed = await client.refusal("Find", *tokens)
        assert (malformed.code, malformed.reason) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "malformed",
        )
        assert malformed.metadata["www-authenticate"] == 'Bearer error="invalid_token"'
    elsewhere = verifier.issue(scopes={"search"}, audience={"mail"}).token
    assert (await client.refusal("Find", elsewhere)).reason == "wrong_audience"


async def test_a_method_needs_its_own_scopes_beside_those_of_all(
    client: Client, verifier: FakeVerifier
) -> None:
    both = verifier.issue(subject="agent:a", scopes={"search", "write"}).token
    assert await client.call("Save", both) == b"agent:a"
    for scopes in ({"search"}, {"write"}):
        refused = await client.refusal("Save", verifier.issue(scopes=scopes).token)
        assert refused.code == grpc.StatusCode.PERMISSION_DENIED
        assert refused.reason == "insufficient_scope"
        assert 'scope="search write"' in str(refused.metadata["www-authenticate"])


async def test_a_method_that_the_mapping_lacks_is_refused(
    client: Client, verifier: FakeVerifier
) -> None:
    refused = await client.refusal("Forgotten", verifier.issue(scopes={"*"}).token)
    assert (refused.code, refused.reason) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "insufficient_scope",
    )


async def test_health_checks_need_no_token_and_unknown_methods_stay_unknown(
    client: Client, verifier: FakeVerifier
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as own:
        await client.call("Check", path="/grpc.health.v1.Health/")
    assert own.value.details() == "the handler's own"
    assert (await client.refusal("Nowhere")).code == grpc.StatusCode.UNIMPLEMENTED


async def test_without_a_lease_a_client_is_asked_to_try_again(
    client: Client, verifier: FakeVerifier
) -> None:
    token = verifier.issue(scopes={"search"}).token
    with verifier.without_lease():
        refused = await client.refusal("Find", token)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "no_lease")
    assert "www-authenticate" not in refused.metadata
    assert refused.metadata["retry-after"] == "1"
    assert refused.metadata["grpc-retry-pushback-ms"] == "1000"


async def test_a_call_whose_token_is_revoked_meanwhile_gets_the_refusal(
    client: Client, verifier: FakeVerifier
) -> None:
    token = verifier.issue(subject="agent:a", scopes={"search"}).token
    refused = await client.refusal("FindSlowly", token)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "revoked")
    assert client.service.ended == ["find_slowly"]


async def test_a_stream_ends_when_its_token_is_revoked(
    client: Client, verifier: FakeVerifier
) -> None:
    token = verifier.issue(subject="agent:a", scopes={"search"}).token
    received, refused = await client.stream("Watch", token)
    assert received == [b"agent:a"]
    if client.threads:
        assert refused.code == grpc.StatusCode.CANCELLED
    else:
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "revoked")
    await eventually(lambda: _is(client.service.ended == ["watch"]))


async def test_a_stream_ends_when_its_token_is_narrowed(
    client: Client, verifier: FakeVerifier
) -> None:
    token = verifier.issue(subject="agent:a", scopes={"search", "write"}).token
    received, refused = await client.stream("Write", token)
    assert received == [b"1"]
    if client.threads:
        assert refused.code == grpc.StatusCode.CANCELLED
    else:
        assert refused.code == grpc.StatusCode.PERMISSION_DENIED


async def test_requests_that_are_a_stream_reach_the_handler(
    client: Client, verifier: FakeVerifier
) -> None:
    good = metadata(verifier.issue(scopes={"search"}).token)

    async def send() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    upload: Any = client.channel.stream_unary(f"/{SERVICE}/Upload")
    assert await upload(send(), metadata=good, timeout=DEADLINE_S) == b"ab"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await upload(send(), timeout=DEADLINE_S)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_a_conversation_ends_when_the_lease_does(
    client: Client, verifier: FakeVerifier
) -> None:
    good = metadata(verifier.issue(scopes={"search"}).token)
    chat: Any = client.channel.stream_stream(f"/{SERVICE}/Chat")
    call = chat(metadata=good, timeout=DEADLINE_S)
    await call.write(b"a")
    assert await call.read() == b"a"
    expected = grpc.StatusCode.CANCELLED if client.threads else grpc.StatusCode.UNAVAILABLE
    assert await call.code() == expected


async def test_an_error_of_the_handler_stays_its_own(
    client: Client, verifier: FakeVerifier
) -> None:
    refused = await client.refusal("Fail", verifier.issue(scopes={"search"}).token)
    assert (refused.code, refused.details) == (grpc.StatusCode.NOT_FOUND, "the handler's own")


async def test_a_token_that_is_bound_to_networks_is_checked_by_the_address_that_connected(
    client: Client, verifier: FakeVerifier
) -> None:
    here = verifier.issue(subject="agent:a", scopes={"search"}, addresses=["127.0.0.0/8"]).token
    assert await client.call("Find", here) == b"agent:a"
    there = verifier.issue(scopes={"search"}, addresses=["10.0.0.0/8"]).token
    assert (await client.refusal("Find", there)).reason == "wrong_address"


async def _is(seen: bool) -> bool:
    return seen


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:40000", "192.0.2.1"),
        ("ipv6:[::1]:40000", "::1"),
        ("ipv6:%5B2001:db8::1%5D:40000", "2001:db8::1"),
        ("unix:/run/x.sock", None),
        ("", None),
    ],
)
def test_the_address_is_read_from_the_peer(peer: str, address: str | None) -> None:
    class Call:
        def invocation_metadata(self) -> None:
            return None

        def peer(self) -> str:
            return peer

    assert integration._read_call(Call()) == ([], address)


@pytest.mark.parametrize("interceptor", [RescindInterceptor, ThreadRescindInterceptor])
def test_what_could_check_less_than_intended_is_refused_at_the_start(
    interceptor: type[RescindInterceptor | ThreadRescindInterceptor],
) -> None:
    for name in ("Find", "search.Search/Find", "/search.Search", "/search.Search/*", "/a/b/c"):
        with pytest.raises(ValueError, match=r"write /package\.Service/Method"):
            interceptor(methods={name: ()})
    with pytest.raises(ScopeError):
        interceptor(require="search")
    with pytest.raises(ScopeError):
        interceptor(methods={"/search.Search/Find": {"a b"}})
