"""The process at the other end of a connection, as the kernel reports it."""

import asyncio
import socket
import struct
from typing import Protocol, cast

from rescind_sidecar.usecases.lookup.lookup_budgets import LookupSource

_UCRED = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)


class _Optioned(Protocol):
    def getsockopt(self, level: int, option: int, length: int, /) -> bytes: ...


def source(transport: asyncio.BaseTransport) -> LookupSource:
    """Return the process that connected. The process cannot influence the kernel's report."""
    connected = cast("_Optioned", transport.get_extra_info("socket"))
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    process, user, _group = _UCRED.unpack(credentials)
    return LookupSource(user, process)
