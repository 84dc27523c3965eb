"""The worker of a sidecar's gRPC as a process: health, bounds, address, TLS, restart and end."""

import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from tests.support import grpc_plane
from tests.support.eventually import eventually
from tests.support.processes import gone, mode
from tests.support.sidecar import LedgerInMemory, RunningSidecar, running
from tests.support.tls import Pki
from tests.unit.rescind_sidecar.grpc.conftest import (
    CheckResponse,
    authorization,
    check_request,
    check_response,
)

from rescind_runtime.net.listen import AddressError
from rescind_sidecar.grpc import server
from rescind_sidecar.grpc.protobuf import write

CHECK = "/envoy.service.auth.v3.Authorization/Check"
HEALTH = "/grpc.health.v1.Health/Check"
SERVING = bytes.fromhex("0801")
DEADLINE_S = 10.0


@pytest.fixture
def link() -> LedgerInMemory:
    return LedgerInMemory()


@pytest.fixture
def sidecar(tmp_path: Path, link: LedgerInMemory) -> Iterator[RunningSidecar]:
    with running(tmp_path / "search.sock", link) as sidecar:
        yield sidecar


class Client:
    """A client of one gRPC server."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def call(self, method: str, message: bytes = b"", *, wait: bool = True) -> bytes:
        """Call a method, and return the answer. Raises AioRpcError; with `wait`, not at once."""
        sending: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(method)
        return await sending(message, timeout=DEADLINE_S, wait_for_ready=wait)

    async def check(self, token: str, **more: str) -> CheckResponse:
        """Ask about a call with a token and the extensions of its route."""
        message = check_request(authorization(token), extensions=more.items())
        return check_response(await self.call(CHECK, message))

    async def refusal(self, method: str, message: bytes = b"") -> grpc.StatusCode:
        """Return the status with which a call is refused."""
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await self.call(method, message)
        return refused.value.code()


@asynccontextmanager
async def connected(
    address: str, credentials: grpc.ChannelCredentials | None = None
) -> AsyncIterator[Client]:
    if credentials is None:
        channel = grpc.aio.insecure_channel(address)
    else:
        channel = grpc.aio.secure_channel(address, credentials)
    async with channel:
        yield Client(channel)


async def test_a_worker_answers_checks_and_health_checks_and_nothing_else(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    token = link.issue("agent:x", scopes=("a",))
    async with grpc_plane.running(sidecar) as served, connected(served.address) as client:
        assert (await client.check(token, require="a")).headers["x-rescind-subject"] == "agent:x"
        assert (await client.check(token, require="b")).status == 403
        sidecar.push(link.revoke("subject:agent:x"))
        assert (await client.check(token)).headers["x-rescind-reason"] == "revoked"
        assert await client.call(HEALTH) == SERVING
        assert await client.call(HEALTH, write(1, b"grpc.health.v1.Health")) == SERVING
        assert await client.refusal(HEALTH, write(1, b"other")) == grpc.StatusCode.NOT_FOUND
        assert await client.refusal(HEALTH, b"\x0a") == grpc.StatusCode.INVALID_ARGUMENT
        other = "/envoy.service.auth.v3.Authorization/Other"
        assert await client.refusal(other) == grpc.StatusCode.UNIMPLEMENTED
        too_large = bytes(server.MAX_REQUEST_BYTES + 1)
        assert await client.refusal(CHECK, too_large) == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_worker_follows_the_settings_of_its_sidecar(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    mail = link.issue(audience=("mail",))
    told = {
        "RESCIND_AUDIENCES": "billing, mail",
        "RESCIND_STALE_STATUS": "401",
        "RESCIND_RESOURCE_METADATA": "https://mcp.example.com/.well-known/x",
    }
    async with grpc_plane.running(sidecar, **told) as served, connected(served.address) as client:
        assert (await client.check(mail, audience="mail")).allowed
        refused = await client.check(mail)
        assert refused.headers["www-authenticate"].endswith('.well-known/x"')
        sidecar.do(sidecar.instances.current.view.table.retire)
        stale = await client.check(mail, audience="mail")
        assert (stale.status, stale.headers["x-rescind-reason"]) == (401, "no_lease")


async def test_a_worker_that_is_killed_is_started_again_at_the_same_address(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    token = link.issue()
    async with grpc_plane.running(sidecar) as served:
        (killed,) = served.pids
        async with connected(served.address) as client:
            assert (await client.check(token)).allowed
        os.kill(killed, signal.SIGKILL)

        async def answers() -> bool:
            try:
                async with connected(served.address) as client:
                    return (await client.check(token)).allowed
            except grpc.aio.AioRpcError as error:
                # The killed worker's socket takes connections until its last thread has ended.
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                return False

        await eventually(answers)
        assert served.pids != [killed]
        assert sidecar.tally.grpc_workers_restarted == 1
        (stopped,) = served.pids
    assert gone(stopped)


async def test_a_unix_socket_is_for_the_user_and_the_group(
    sidecar: RunningSidecar, link: LedgerInMemory, tmp_path: Path
) -> None:
    address = f"unix:{tmp_path}/grpc.sock"
    async with grpc_plane.running(sidecar, address=address) as served:
        assert served.address == address
        assert mode(tmp_path / "grpc.sock") == 0o660
        async with connected(address) as client:
            assert (await client.check(link.issue())).allowed
        with pytest.raises(AddressError, match="another process listens at"):
            async with grpc_plane.running(sidecar, address=address):
                pass


async def test_an_address_that_is_in_use_is_refused_and_never_shared(
    sidecar: RunningSidecar,
) -> None:
    async with grpc_plane.running(sidecar) as served:
        with pytest.raises(AddressError, match="choose another with RESCIND_GRPC"):
            async with grpc_plane.running(sidecar, address=served.address):
                pass
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(AddressError, match="choose another with RESCIND_GRPC"):
            async with grpc_plane.running(sidecar, address=address):
                pass


def credentials(pki: Pki, client: str | None = None) -> grpc.ChannelCredentials:
    pair = (
        (None, None)
        if client is None
        else (pki.key(client).read_bytes(), pki.cert(client).read_bytes())
    )
    return grpc.ssl_channel_credentials(pki.ca.read_bytes(), *pair)


async def test_with_a_ca_each_client_needs_a_certificate(
    sidecar: RunningSidecar, link: LedgerInMemory, tmp_path: Path
) -> None:
    pki, token = Pki.make(tmp_path / "pki"), link.issue()
    files = {
        "RESCIND_GRPC_CA_FILE": str(pki.ca),
        "RESCIND_GRPC_CERT_FILE": str(pki.cert("server")),
        "RESCIND_GRPC_KEY_FILE": str(pki.key("server")),
    }
    async with grpc_plane.running(sidecar, **files) as served:
        async with connected(served.address, credentials(pki, "client")) as client:
            assert (await client.check(token)).allowed
        for refused in (None, credentials(pki), credentials(pki, "strange")):
            async with connected(served.address, refused) as client:
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await client.call(CHECK, check_request(authorization(token)), wait=False)
                assert error.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_new_certificate_is_taken_at_the_next_connection(
    sidecar: RunningSidecar, link: LedgerInMemory, tmp_path: Path
) -> None:
    pki, token = Pki.make(tmp_path / "pki"), link.issue()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def install(name: str) -> None:
        key.write_bytes(pki.key(name).read_bytes())
        cert.write_bytes(pki.cert(name).read_bytes())

    install("elsewhere")
    files = {"RESCIND_GRPC_CERT_FILE": str(cert), "RESCIND_GRPC_KEY_FILE": str(key)}
    async with grpc_plane.running(sidecar, **files) as served:

        async def answers() -> bool:
            async with connected(served.address, credentials(pki)) as client:
                try:
                    await client.call(CHECK, check_request(authorization(token)), wait=False)
                except grpc.aio.AioRpcError:
                    return False
            return True

        assert not await answers()  # it is for another name
        install("server")
        assert await eventually(answers)
        cert.write_text("not a certificate")
        assert await answers()  # the former one stays in use
