"""Who is on the other side of a connection, as the kernel says it."""

import asyncio
import socket
import struct
from typing import Protocol, cast

from rescind_sidecar.usecases.lookup.rate_limit import LookupPeer

_UCRED = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)


class _Optioned(Protocol):
    def getsockopt(self, level: int, option: int, length: int, /) -> bytes: ...


def source(transport: asyncio.BaseTransport) -> LookupPeer:
    """Name the process that connected; it cannot choose what the kernel says."""
    connected = cast("_Optioned", transport.get_extra_info("socket"))
    told = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    process, user, _group = _UCRED.unpack(told)
    return LookupPeer(user, process)
