"""HTTPS as the runtime serves it: bounded from the first byte, and renewed without a cut."""

import asyncio
import operator
import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from structlog.testing import capture_logs
from tests.integration.test_web_server import HALF, MIB, SHORT, Application, number_of
from tests.support import silent_clients
from tests.support.eventually import eventually
from tests.support.tls import Pki

from rescind.client.tls import TlsFiles
from rescind_runtime.net import http_server
from rescind_runtime.net.certificates import ReloadingCertificate
from rescind_runtime.net.connection_limits import Connections, Limits


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.make(tmp_path_factory.mktemp("pki"))


def served(pki: Pki, *, name: str = "server", mutual: bool = False) -> ReloadingCertificate:
    ca = pki.ca if mutual else None
    return ReloadingCertificate(TlsFiles("http", ca, pki.cert(name), pki.key(name)))


def client(url: str, files: TlsFiles) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=url, verify=files.client(), trust_env=False, timeout=15)


async def test_https_carries_what_http_does(pki: Pki) -> None:
    async with (
        http_server.serving(Application(), "127.0.0.1:0", certificate=served(pki)) as url,
        client(url, pki.client("authority")) as http,
    ):
        assert url.startswith("https://127.0.0.1:")
        assert (await http.get("/")).text == "ok"
        assert len((await http.get("/large")).content) == 8 * MIB
        assert (await http.post("/", content=bytes(3 * MIB))).text == "ok"


@pytest.mark.parametrize(
    "sent", [b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n"]
)
async def test_a_stalled_handshake_is_closed(sent: bytes, pki: Pki) -> None:
    connections = Connections(SHORT)
    async with (
        http_server.serving(
            Application(), "127.0.0.1:0", connections=connections, certificate=served(pki)
        ) as url,
        silent_clients.silent(url, 1, sent),
    ):
        await eventually(lambda: number_of(lambda: connections.admitted))
        await eventually(lambda: number_of(lambda: len(connections)), until=operator.not_)


async def test_a_stalled_request_is_closed_under_tls_too(pki: Pki) -> None:
    connections = Connections(SHORT)
    async with http_server.serving(
        Application(), "127.0.0.1:0", connections=connections, certificate=served(pki)
    ) as url:
        reader, writer = await opened(url, pki)
        writer.write(HALF)
        assert b"408 Request Timeout" in await reader.read()
        writer.close()
        await eventually(lambda: number_of(lambda: len(connections)), until=operator.not_)


async def test_handshakes_without_an_end_keep_no_other_client_out(pki: Pki) -> None:
    connections = Connections(Limits(most=40, most_of_peer=20))
    async with (
        http_server.serving(
            Application(), "127.0.0.1:0", connections=connections, certificate=served(pki)
        ) as url,
        silent_clients.silent(url, 60, b"\x16\x03"),
        client(url, pki.client("authority")) as http,
    ):
        await eventually(lambda: number_of(lambda: connections.admitted), until=lambda n: n >= 60)
        assert len(connections) <= 20
        assert (await http.get("/")).text == "ok"


async def test_a_client_needs_a_certificate_where_a_ca_is_set(pki: Pki) -> None:
    wrong = {
        "client_certificate": pki.client("authority", identified=False),
        "client_certificate_refused": TlsFiles(
            "authority", pki.ca, pki.cert("strange"), pki.key("strange")
        ),
    }
    async with http_server.serving(
        Application(), "127.0.0.1:0", certificate=served(pki, mutual=True)
    ) as url:
        async with client(url, pki.client("authority")) as http:
            assert (await http.get("/")).text == "ok"
        for cause, files in wrong.items():
            with capture_logs() as lines:
                async with client(url, files) as http:
                    with pytest.raises((httpx2.TransportError, ssl.SSLError)):
                        await http.get("/")
            (line,) = [each for each in lines if each["action"] == "http.tls_refused"]
            assert (line["cause"], line["log_level"]) == (cause, "warning")


async def test_a_new_certificate_is_used_and_no_connection_is_lost(
    pki: Pki, tmp_path: Path
) -> None:
    renewed = Pki.make(tmp_path / "renewed")
    live = Pki(tmp_path / "live")
    live.folder.mkdir()
    copy(pki, live)
    certificate = served(live)
    async with http_server.serving(Application(), "127.0.0.1:0", certificate=certificate) as url:
        async with client(url, pki.client("authority")) as http:
            before = connection_of(await http.get("/"))
            with capture_logs() as lines:
                live.key("server").write_bytes(renewed.key("server").read_bytes())
                certificate.reload_if_changed()  # half of the new pair: the one before goes on
                copy(renewed, live)
                certificate.reload_if_changed()
            assert [each["action"] for each in lines] == [
                "http.certificate_refused",
                "http.certificate_renewed",
            ]
            assert connection_of(await http.get("/")) == before
        async with client(url, renewed.client("authority")) as http:
            assert (await http.get("/")).text == "ok"
        async with client(url, pki.client("authority")) as http:
            with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await http.get("/")
        live.cert("server").write_text("nothing\n")
        with capture_logs() as lines:
            certificate.reload_if_changed()
            certificate.reload_if_changed()
        assert [each["action"] for each in lines] == ["http.certificate_refused"], "said once"
        async with client(url, renewed.client("authority")) as http:
            assert (await http.get("/")).text == "ok"


def copy(source: Pki, into: Pki) -> None:
    for find in (Pki.cert, Pki.key):
        find(into, "server").write_bytes(find(source, "server").read_bytes())


def connection_of(response: httpx2.Response) -> tuple[str, int]:
    """Return the client's end of the connection that a response came over."""
    assert response.text == "ok"
    address: tuple[str, int] = response.extensions["network_stream"].get_extra_info("client_addr")
    return address


async def opened(url: str, pki: Pki) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    port = urlsplit(url).port
    return await asyncio.open_connection("127.0.0.1", port, ssl=pki.client("authority").client())


async def test_the_server_sends_close_notify_so_that_truncation_is_detected(pki: Pki) -> None:
    async with http_server.serving(Application(), "127.0.0.1:0", certificate=served(pki)) as url:
        context = pki.client("authority").client()

        def asked() -> bytes:
            with (
                socket.create_connection(("127.0.0.1", urlsplit(url).port or 0)) as raw,
                context.wrap_socket(
                    raw, server_hostname="127.0.0.1", suppress_ragged_eofs=False
                ) as over_tls,
            ):
                over_tls.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                heard = b""
                while part := over_tls.recv(4096):
                    heard += part
                return heard

        assert (await asyncio.to_thread(asked)).endswith(b"ok")
