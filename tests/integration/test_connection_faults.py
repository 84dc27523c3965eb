"""Why a server cannot be used is told apart alike, whichever driver finds it out."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from structlog.testing import capture_logs
from tests.support import tls
from tests.support.eventually import eventually
from tests.support.tls import Pki

from rescind.client import causes
from rescind.client.causes import Fault
from rescind.client.tls import TlsFiles
from rescind.errors import UnreachableError
from rescind_authority.errors import StoreUnavailableError
from rescind_authority.postgres import pool
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.redis.record_cache import RedisRecordWriter as SharedRecords
from rescind_runtime.links import NatsLink, PostgresLink, RedisLink
from rescind_runtime.net import nats_client, redis_connection
from rescind_sidecar.link.http_transport import HttpTransport
from rescind_sidecar.redis.record_cache import RedisRecordReader

SECRET = "hunter2"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.make(tmp_path_factory.mktemp("pki"))


async def _nats(place: str, files: TlsFiles) -> None:
    link = NatsLink((f"tls://u:{SECRET}@{place}",), files)
    failures: list[Exception] = []

    async def note(error: Exception) -> None:
        failures.append(error)

    client = nats_client.client(link)
    options = nats_client.options(link) | {"allow_reconnect": False, "max_reconnect_attempts": 0}
    try:
        async with asyncio.timeout(5):
            await client.connect(**options, connect_timeout=5, error_cb=note)
    except Exception as error:  # noqa: BLE001 - the first that was told says most
        raise (failures or [error])[0] from None
    finally:
        await client.close()


async def _postgres(place: str, files: TlsFiles) -> None:
    link = PostgresLink(f"postgresql://u:{SECRET}@{place}/db", files)
    await asyncpg.connect(link.dsn, timeout=5, **link.options())


async def _redis(place: str, files: TlsFiles) -> None:
    async with redis_connection.connection(
        RedisLink(f"rediss://u:{SECRET}@{place}", files), timeout_s=5
    ) as client:
        await client.ping()


async def _http(place: str, files: TlsFiles) -> None:
    async with httpx2.AsyncClient(verify=files.client(), trust_env=False) as client:
        (await client.get(f"https://{place}/", timeout=5)).raise_for_status()


Attempt = Callable[[str, TlsFiles], Awaitable[None]]
ATTEMPTS: dict[str, Attempt] = {
    "nats": _nats,
    "postgres": _postgres,
    "redis": _redis,
    "authority": _http,
}


def stand_in(
    link: str, pki: Pki, *, cert: str = "server", mutual: bool = False
) -> AbstractContextManager[int]:
    context = pki.server(cert, mutual=mutual)
    servers = {
        "nats": tls.nats(context, []),
        "postgres": tls.postgres(context, []),
        "redis": tls.secured(context, tls.redis),
        "authority": tls.secured(context, tls.http),
    }
    return tls.listening(servers[link])


async def kind(link: str, place: str | int, files: TlsFiles) -> Fault:
    """Return why an attempt failed; what is said of it has no secret, and says what to do."""
    where = place if isinstance(place, str) else f"127.0.0.1:{place}"
    with pytest.raises(Exception) as failed:  # noqa: PT011 - every driver has others
        await ATTEMPTS[link](where, files)
    cause = causes.of(failed.value)
    advice = cause.advice(link, "RESCIND_X_URL")
    assert SECRET not in cause.description + advice
    assert advice, cause
    assert "{" not in advice
    return cause.kind


@pytest.mark.parametrize("link", ATTEMPTS)
@pytest.mark.parametrize(
    ("cert", "expected"),
    [
        ("strange", Fault.UNTRUSTED),
        ("elsewhere", Fault.HOST_NAME),
        ("expired", Fault.EXPIRED),
    ],
)
async def test_different_faults_of_certificates_are_distinguished(
    link: str, cert: str, expected: Fault, pki: Pki
) -> None:
    with stand_in(link, pki, cert=cert) as port:
        assert await kind(link, port, pki.client(link)) is expected


@pytest.mark.parametrize("link", ATTEMPTS)
async def test_a_missing_client_certificate_is_reported(link: str, pki: Pki) -> None:
    with stand_in(link, pki, mutual=True) as port:
        files = pki.client(link, identified=False)
        assert await kind(link, port, files) is Fault.CLIENT_CERTIFICATE


@pytest.mark.parametrize("link", ATTEMPTS)
async def test_a_client_certificate_of_another_ca_is_reported(link: str, pki: Pki) -> None:
    with stand_in(link, pki, mutual=True) as port:
        files = TlsFiles(link, pki.ca, pki.cert("strange"), pki.key("strange"))
        assert await kind(link, port, files) is Fault.CLIENT_CERTIFICATE_REFUSED


@pytest.mark.parametrize("link", ["nats", "postgres", "redis"])
async def test_a_refused_user_is_reported(link: str, pki: Pki) -> None:
    with stand_in(link, pki, mutual=True) as port:
        assert await kind(link, port, pki.client(link)) is Fault.AUTHORIZATION


@pytest.mark.parametrize("link", ATTEMPTS)
async def test_a_server_without_tls_is_reported(link: str, pki: Pki) -> None:
    clear = {
        "nats": tls.nats(None, []),
        "postgres": tls.postgres(None, []),
        "redis": tls.redis,
        "authority": tls.http,
    }
    with tls.listening(clear[link]) as port:
        assert await kind(link, port, pki.client(link)) is Fault.NO_TLS


@pytest.mark.parametrize("link", ATTEMPTS)
async def test_a_port_where_nothing_listens_is_reported(link: str, pki: Pki) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, and not listened at
        assert await kind(link, bound.getsockname()[1], pki.client(link)) is Fault.REFUSED


@pytest.mark.parametrize("link", ATTEMPTS)
async def test_a_host_without_an_address_is_reported(
    link: str, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert await kind(link, "nowhere.example:1", pki.client(link)) is Fault.NAME


async def test_clear_text_that_postgres_does_not_admit_is_reported() -> None:
    error = asyncpg.InvalidAuthorizationSpecificationError(
        'no pg_hba.conf entry for host "10.0.0.1", user "u", database "d", no encryption'
    )
    assert causes.of(error).kind is Fault.WANTS_TLS
    error = asyncpg.InvalidAuthorizationSpecificationError(
        "connection requires a valid client certificate"
    )
    assert causes.of(error).kind is Fault.CLIENT_CERTIFICATE


class TestLogs:
    """What stands in the log of a process: the cause, and what to do."""

    async def test_the_cause_of_a_redis_failure_is_logged_at_an_authority_and_at_a_sidecar(
        self, pki: Pki
    ) -> None:
        with stand_in("redis", pki, mutual=True) as port:
            link = RedisLink(f"rediss://u:{SECRET}@127.0.0.1:{port}", pki.client("redis"))
            for job in (RedisRecordReader(link), SharedRecords(link, PrometheusMetrics())):
                line = await logged(job.run(), "redis.lost")
                assert line["cause"] == Fault.AUTHORIZATION
                assert "RESCIND_REDIS_URL" in line["do"]

    async def test_the_cause_of_a_failure_to_reach_an_authority_over_http_is_logged(
        self, pki: Pki
    ) -> None:
        with stand_in("authority", pki, cert="expired") as port:
            transport = HttpTransport([f"https://127.0.0.1:{port}"], pki.client("authority"))

            async def asking() -> None:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(transport.run())
                    while True:
                        with contextlib.suppress(UnreachableError):
                            await transport.request("rescind.v1.since", b"", timeout_s=5)
                        await asyncio.sleep(0.01)

            line = await logged(asking(), "link.refused")
            assert (line["cause"], line["server"]) == (Fault.EXPIRED, f"127.0.0.1:{port}")

    async def test_the_cause_of_a_postgres_failure_is_in_the_error(self, pki: Pki) -> None:
        with stand_in("postgres", pki, cert="strange") as port:
            dsn = f"postgresql://u:{SECRET}@127.0.0.1:{port}/db"
            async with pool.connect(PostgresLink(dsn, pki.client("postgres"))) as postgres:
                with pytest.raises(StoreUnavailableError) as failed:
                    await postgres.rows("server_system")
        assert "RESCIND_POSTGRES_CA_FILE" in str(failed.value)
        assert SECRET not in str(failed.value)


async def logged(job: Coroutine[Any, Any, None], action: str) -> Mapping[str, Any]:
    """Run a job until it has logged this, and return the line."""
    with capture_logs() as lines:
        task = asyncio.ensure_future(job)
        try:
            found = await eventually(lambda: _found(lines, action))
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    assert SECRET not in str(lines)
    return found[0]


async def _found(lines: Sequence[Mapping[str, Any]], action: str) -> list[Mapping[str, Any]]:
    return [line for line in lines if line["action"] == action]


class TestNatsDowngrade:
    """A greeting in clear text, which a host in between may write, gets no secret of a client."""

    @pytest.mark.parametrize("info", [{}, {"tls_available": True}, {"tls_required": False}])
    async def test_nothing_is_sent_before_tls(self, info: dict[str, object], pki: Pki) -> None:
        said: list[bytes] = []
        with tls.listening(tls.nats(None, said, **info)) as port:
            assert await kind("nats", port, pki.client("nats")) is Fault.NO_TLS
        assert said == []

    async def test_servers_that_a_greeting_names_are_not_used(self, pki: Pki) -> None:
        link = NatsLink(("tls://127.0.0.1:1",), pki.client("nats"))
        client = nats_client.client(link)
        said: list[bytes] = []
        context = pki.server(mutual=True)
        with tls.listening(tls.nats(context, said, connect_urls=["evil.example:4222"])) as p:
            options = nats_client.options(link) | {"servers": [f"tls://u:{SECRET}@127.0.0.1:{p}"]}

            async def pass_over(_error: Exception) -> None:
                return

            with pytest.raises(Exception, match="Authorization"):
                await client.connect(**options, allow_reconnect=False, error_cb=pass_over)
        assert [each.uri.hostname for each in client._server_pool] == ["127.0.0.1"]
        assert any(SECRET.encode() in each for each in said), "under TLS it says who it is"
        await client.close()


async def test_remote_servers_that_a_local_one_names_are_not_contacted() -> None:
    told = ["10.0.0.1:4222", "127.0.0.1:4223", "evil.example:4222", "[::1]:4224"]
    with tls.listening(tls.nats(None, [], connect_urls=told)) as port:
        client = nats_client.client(NatsLink.read(f"nats://127.0.0.1:{port}"))

        async def pass_over(_error: Exception) -> None:
            return

        options: dict[str, Any] = {
            "servers": [f"nats://127.0.0.1:{port}"],
            "allow_reconnect": False,
        }
        with pytest.raises(Exception, match="Authorization"):
            await client.connect(**options, error_cb=pass_over)
    known = {each.uri.hostname for each in client._server_pool}
    assert known == {"127.0.0.1", "::1"}
    await client.close()


def test_the_folder_of_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"RESCIND_NATS_CREDS_FILE: .*cannot be read"):
        nats_client.options(NatsLink(("tls://far",), creds=tmp_path / "none"))
