"""A CA and its certificates, in files; and servers that begin TLS as the real ones do."""

import asyncio
import json
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from rescind.client.tls import TlsFiles

_SSL_REQUEST = struct.pack("!ii", 8, 80_877_103)

_PATIENCE_S = 10.0

Serve = Callable[[socket.socket], None]
Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Pki:
    """The files of a CA, and of certificates: good ones, and some with one fault each."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Pki":
        """Issue all certificates."""
        folder.mkdir(parents=True, exist_ok=True)
        authority, other_authority = trustme.CA(), trustme.CA()
        made = cls(folder)
        authority.cert_pem.write_to_path(str(made.ca))
        other_authority.cert_pem.write_to_path(str(made.strange_ca))
        yesterday = datetime.now(UTC) - timedelta(days=1)
        made._keep("server", authority.issue_cert("127.0.0.1", "localhost", "::1"))
        made._keep("elsewhere", authority.issue_cert("elsewhere.example"))
        made._keep("expired", authority.issue_cert("127.0.0.1", not_after=yesterday))
        made._keep("strange", other_authority.issue_cert("127.0.0.1", "localhost"))
        made._keep("client", authority.issue_cert("client@example.com"))
        return made

    def _keep(self, name: str, issued: trustme.LeafCert) -> None:
        self.key(name).write_bytes(issued.private_key_pem.bytes())
        self.cert(name).write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def strange_ca(self) -> Path:
        return self.folder / "strange-ca.pem"

    def cert(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def client(self, link: str, *, identified: bool = True) -> TlsFiles:
        """Return the files that a client of a link uses."""
        if not identified:
            return TlsFiles(link, self.ca)
        return TlsFiles(link, self.ca, self.cert("client"), self.key("client"))

    def server(self, name: str = "server", *, mutual: bool = False) -> ssl.SSLContext:
        """Return the files that a server uses; `mutual` requires a client certificate."""
        ca = self.ca if mutual else None
        return TlsFiles("http", ca, self.cert(name), self.key(name)).server()


@contextmanager
def listening(serve: Serve) -> Iterator[int]:
    """Serve connections at a port of loopback in threads, until the end of the block.

    The sockets block, because asyncio sends a client no reason when it refuses the handshake.
    """
    over, connections = threading.Event(), list[socket.socket]()
    try:
        with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(8) as threads:
            server.settimeout(0.05)

            def accept() -> None:
                while not over.is_set():
                    with suppress(TimeoutError):
                        connections.append(server.accept()[0])
                        threads.submit(_served, serve, connections[-1])

            threads.submit(accept)
            try:
                yield server.getsockname()[1]
            finally:
                over.set()
                for each in connections:
                    with suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)
    finally:
        for each in connections:
            each.close()  # one that was accepted as the threads stopped is served by none


def _served(serve: Serve, connection: socket.socket) -> None:
    connection.settimeout(_PATIENCE_S)
    with connection, suppress(OSError, EOFError):  # a client may disconnect in each of these ways
        try:
            serve(connection)
        except ssl.SSLError:
            # OpenSSL has sent the reason; a reset, because of unread data, would overtake it.
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass


def secured(context: ssl.SSLContext, serve: Serve) -> Serve:
    """Serve with TLS from the first byte on."""

    def begin(connection: socket.socket) -> None:
        with _upgraded(connection, context) as over_tls:
            serve(over_tls)

    return begin


@contextmanager
def _upgraded(connection: socket.socket, context: ssl.SSLContext | None) -> Iterator[socket.socket]:
    if context is None:
        yield connection
        return
    # A duplicate, so that the report of a failure still has an open connection.
    with context.wrap_socket(connection.dup(), server_side=True) as over_tls:
        yield over_tls


def nats(context: ssl.SSLContext | None, said: list[bytes], **info: object) -> Serve:
    """Greet as NATS does, record what a client sends, and refuse every user."""
    greeting = {"server_id": "x", "version": "2.15.1", "max_payload": 1 << 20, "headers": True}

    def serve(connection: socket.socket) -> None:
        told = greeting | ({} if context is None else {"tls_required": True}) | info
        connection.sendall(f"INFO {json.dumps(told)}\r\n".encode())
        with _upgraded(connection, context) as upgraded:
            heard = b""
            while b"PING" not in heard:
                if not (part := upgraded.recv(4096)):
                    return
                heard += part
                said.append(part)
            upgraded.sendall(b"-ERR 'Authorization Violation'\r\n")
            upgraded.recv(1)

    return serve


def postgres(context: ssl.SSLContext | None, said: list[bytes]) -> Serve:
    """Begin as Postgres does, with TLS or without, and refuse every password."""

    def serve(connection: socket.socket) -> None:
        if connection.recv(8) == _SSL_REQUEST:
            connection.sendall(b"N" if context is None else b"S")
        with _upgraded(connection, context) as upgraded:
            if not (startup := upgraded.recv(4096)):
                return
            said.append(startup)
            fields = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed\0\0"
            upgraded.sendall(b"E" + struct.pack("!i", 4 + len(fields)) + fields)
            upgraded.recv(1)

    return serve


def redis(connection: socket.socket) -> None:
    """Refuse every password, and everything that is not a command."""
    while heard := connection.recv(4096):
        if not heard.startswith(b"*"):
            connection.sendall(b"-ERR Protocol error\r\n")
            return
        connection.sendall(
            b"-WRONGPASS invalid username-password pair or user is disabled.\r\n" * 4
        )


def http(connection: socket.socket) -> None:
    """Answer every request alike, and refuse what is not a request."""
    heard = connection.recv(4096)
    status = b"200 OK" if heard.startswith(b"GET ") else b"400 Bad Request"
    head = b"\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
    connection.sendall(b"HTTP/1.1 " + status + head)


def front(path: Path, context: ssl.SSLContext, *, negotiated: bool = False) -> Connected:
    """Put TLS before a server at a Unix socket; `negotiated` as Postgres does it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if negotiated:
            assert await reader.readexactly(8) == _SSL_REQUEST, "clear text"
            writer.write(b"S")
        await writer.start_tls(context)
        behind = await asyncio.open_unix_connection(path)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_pump(reader, behind[1]))
            tasks.create_task(_pump(behind[0], writer))

    return serve


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, ssl.SSLError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
