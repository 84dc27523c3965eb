"""Cheap clients, in large numbers, that connect and then send nothing or an incomplete request."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlsplit

_AT_ONCE = 128  # far less than a server's backlog


def address_of(url: str) -> tuple[str, int]:
    """Return host and port of a URL."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


async def connect(url: str, sent: bytes = b"") -> socket.socket:
    """Open a connection, and send some bytes over it."""
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, address_of(url))
    if sent:
        await loop.sock_sendall(client, sent)
    return client


@asynccontextmanager
async def silent(url: str, number: int, sent: bytes = b"") -> AsyncIterator[list[socket.socket]]:
    """Open a number of connections for the block; each sends the given bytes and nothing else."""
    clients: list[socket.socket] = []
    address = address_of(url)
    try:
        for count in range(number):
            client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            clients.append(client)
            client.connect(address)  # on loopback this does not block: the kernel answers
            client.setblocking(False)
            if sent:
                client.send(sent)
            if count % _AT_ONCE == 0:
                await asyncio.sleep(0)  # the server, in this loop, accepts those that wait
        yield clients
    finally:
        for client in clients:
            client.close()


async def until_closed(client: socket.socket) -> bytes:
    """Return the bytes that arrive until the server closes the connection."""
    loop = asyncio.get_running_loop()
    received = b""
    try:
        async with asyncio.timeout(30):
            while chunk := await loop.sock_recv(client, 65_536):
                received += chunk
    except ConnectionResetError:
        pass
    return received


def is_open(client: socket.socket) -> bool:
    """Return True if the server has not closed a connection; the bytes that it sent are dropped."""
    try:
        while client.recv(65_536):
            continue
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False
    return False


@contextmanager
def descriptors(number: int) -> Iterator[None]:
    """Allow this process to open that many files, for the block."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(now, number), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (now, most))
