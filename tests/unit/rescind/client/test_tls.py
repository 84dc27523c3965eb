"""The authority is asked under TLS, or on this machine: nothing is sent before that is sure."""

import os
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from tests.support import tls
from tests.support.tls import Pki

from rescind.client import Admin, AsyncAdmin, AsyncBearer, Bearer
from rescind.client.tls import PlaintextError, TlsError, TlsFiles
from rescind.core.secret import Secret
from rescind.errors import RescindError, UnreachableError

TOKEN = Secret("rsc_adm_secret")
FAR = [
    "http://far.example",
    "http://10.0.0.1:7473",
    "http://127.0.0.1@far",
    "http://[2001:db8::1]:1",
]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> Any:
        raise AssertionError("a name was looked up, or a connection made")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("url", [*FAR, "https://near.example,http://far.example"])
async def test_no_token_leaves_the_machine_in_clear_text(url: str) -> None:
    for kind in (Admin, Bearer):
        with kind(url, TOKEN) as client, pytest.raises(PlaintextError) as refused:
            client.tree("tok_x") if isinstance(client, Admin) else client.delegate(
                subject="agent:a"
            )
        assert "RESCIND_ALLOW_PLAINTEXT=authority" in str(refused.value)
        assert TOKEN.reveal() not in str(refused.value)
    for async_kind in (AsyncAdmin, AsyncBearer):
        async with async_kind(url, TOKEN) as one:
            asked = one.tree("tok_x") if isinstance(one, AsyncAdmin) else one.rotate()
            with pytest.raises(PlaintextError):
                await asked


def test_the_environment_may_allow_clear_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESCIND_URL", "http://far.example")
    monkeypatch.setenv("RESCIND_ADMIN_TOKEN", TOKEN.reveal())
    monkeypatch.delenv("RESCIND_ALLOW_PLAINTEXT", raising=False)
    reached: list[object] = []

    def lookup(host: object, *_: object, **__: object) -> Any:
        reached.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    for allowed, expected in (
        (None, PlaintextError),
        ("nats", PlaintextError),
        ("authority", UnreachableError),
    ):
        if allowed:
            monkeypatch.setenv("RESCIND_ALLOW_PLAINTEXT", allowed)
        with Admin.from_environment() as admin, pytest.raises(expected):
            admin.health()
    assert reached == ["far.example"]
    monkeypatch.setenv("RESCIND_ALLOW_PLAINTEXT", "authority,all")
    with pytest.raises(RescindError, match="RESCIND_ALLOW_PLAINTEXT: 'all' is not a link"):
        Admin.from_environment()


async def test_an_authority_is_asked_with_its_ca_and_an_own_certificate(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tls.listening(tls.secured(pki.server(mutual=True), tls.http)) as port:
        monkeypatch.setenv("RESCIND_URL", f"https://127.0.0.1:{port}")
        monkeypatch.setenv("RESCIND_ADMIN_TOKEN", TOKEN.reveal())
        for name, path in {
            "CA": pki.ca,
            "CERT": pki.cert("client"),
            "KEY": pki.key("client"),
        }.items():
            monkeypatch.setenv(f"RESCIND_AUTHORITY_{name}_FILE", str(path))
        nothing: dict[str, Any] = {}
        with Admin.from_environment() as admin:
            assert admin.health() == nothing
        async with AsyncAdmin.from_environment() as asynchronous:
            assert await asynchronous.health() == nothing


WRONG: dict[str, tuple[dict[str, str | bool], str | None, str]] = {
    "not trusted": ({"cert": "strange"}, "client", "RESCIND_AUTHORITY_CA_FILE"),
    "another host name": ({"cert": "elsewhere"}, "client", "RESCIND_URL"),
    "out of date": ({"cert": "expired"}, "client", "Renew the server's certificate"),
    "wants a client certificate": ({"mutual": True}, None, "RESCIND_AUTHORITY_CERT_FILE"),
    "refuses our client certificate": ({"mutual": True}, "strange", "RESCIND_AUTHORITY_CERT_FILE"),
}


@pytest.mark.parametrize("says", WRONG)
async def test_a_tls_error_states_what_is_wrong_and_what_to_do(says: str, pki: Pki) -> None:
    served, identity, advice = WRONG[says]
    name: Any = served.get("cert", "server")
    context = pki.server(name, mutual=bool(served.get("mutual")))
    own = (pki.cert(identity), pki.key(identity)) if identity else ()
    files = TlsFiles("authority", pki.ca, *own)
    with tls.listening(tls.secured(context, tls.http)) as port:
        url = f"https://127.0.0.1:{port}"
        # Also for a command: it was not read, so its outcome is known.
        with Admin(url, TOKEN, files=files) as admin, pytest.raises(UnreachableError) as failed:
            admin.revoke("subject:agent:a")
        async with AsyncAdmin(url, TOKEN, files=files) as asynchronous:
            with pytest.raises(UnreachableError) as failed_too:
                await asynchronous.revoke("subject:agent:a")
    for each in (failed, failed_too):
        assert says in str(each.value)
        assert advice in str(each.value)
        assert TOKEN.reveal() not in str(each.value)


def test_no_redirect_is_followed(pki: Pki) -> None:
    def elsewhere(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(
            b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://far.example/\r\n"
            b"content-length: 0\r\nconnection: close\r\n\r\n"
        )

    with (
        tls.listening(tls.secured(pki.server(), elsewhere)) as port,
        Admin(f"https://127.0.0.1:{port}", TOKEN, files=pki.client("authority")) as admin,
        pytest.raises(RescindError, match="307"),
    ):
        admin.tree("tok_x")


class TestFiles:
    """What a file is not, is said with the name of its setting, and never with what is in it."""

    @pytest.mark.parametrize("content", [None, b"", b"hunter2", b"\xff\x00"])
    def test_a_ca_that_cannot_be_used_is_refused(
        self, content: bytes | None, tmp_path: Path
    ) -> None:
        path = tmp_path / "ca"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(TlsError, match=r"^RESCIND_REDIS_CA_FILE: .*ca ") as refused:
            TlsFiles("redis", path).client()
        assert "hunter2" not in str(refused.value)

    def test_a_directory_in_place_of_a_certificate_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(TlsError, match=r"RESCIND_NATS_CERT_FILE: .*cannot be read"):
            TlsFiles("nats", cert=tmp_path).client()

    def test_a_key_without_a_certificate_and_a_certificate_without_a_key_are_refused(
        self, pki: Pki
    ) -> None:
        with pytest.raises(TlsError, match="RESCIND_NATS_KEY_FILE is set without"):
            TlsFiles("nats", key=pki.key("client")).client()
        with pytest.raises(TlsError, match=r"RESCIND_NATS_CERT_FILE: .*chain and its key"):
            TlsFiles("nats", cert=pki.cert("client")).client()
        for files in (TlsFiles("http", ca=pki.ca), TlsFiles("http", key=pki.key("server"))):
            with pytest.raises(TlsError, match="without RESCIND_HTTP_CERT_FILE"):
                files.server()

    def test_a_certificate_of_another_key_is_refused(self, pki: Pki) -> None:
        files = TlsFiles("http", cert=pki.cert("server"), key=pki.key("client"))
        with pytest.raises(TlsError, match="is not the certificate of the key"):
            files.server()

    def test_one_file_may_hold_both(self, pki: Pki, tmp_path: Path) -> None:
        both = tmp_path / "both.pem"
        both.write_bytes(pki.key("client").read_bytes() + pki.cert("client").read_bytes())
        TlsFiles("nats", pki.ca, both).client()

    def test_an_encrypted_key_is_refused_without_a_prompt_for_its_password(
        self, pki: Pki, tmp_path: Path
    ) -> None:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

        key = serialization.load_pem_private_key(pki.key("client").read_bytes(), None)
        path = tmp_path / "key"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"hunter2"),
            )
        )
        with pytest.raises(TlsError, match="not encrypted"):
            TlsFiles("nats", cert=pki.cert("client"), key=path).client()

    def test_a_configured_ca_is_the_only_one_that_is_trusted(self, pki: Pki) -> None:
        context = TlsFiles("nats", pki.ca).client()
        assert len(context.get_ca_certs()) == 1
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
        assert os.environ.get("SSLKEYLOGFILE") or context.keylog_filename is None
