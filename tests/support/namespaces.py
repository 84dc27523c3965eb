"""A test's own host: a network namespace behind a link that the kernel can cut.

A cut link loses every packet of one direction, or of both, without notifying either end: the
neighbour's address is one that no interface has, so frames are sent and never received. Connections
stay open; TCP repeats what it sent and backs off, as on a network that fails.
"""

import contextlib
import ctypes
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_NOWHERE = "02:00:00:00:00:00"
_CLONE_NEWNET = 0x40000000  # <linux/sched.h>


class PacketLoss(StrEnum):
    """The packets that a link loses: all, those from the far host, or those to it."""

    BOTH = "both ways"
    OUTGOING = "what it says"
    INCOMING = "what it is told"


@dataclass(frozen=True, slots=True)
class Host:
    """A namespace, and the two ends of its link: `near` is ours, `far` is the namespace's."""

    name: str
    near: str
    far: str

    def cut(self, what: PacketLoss) -> None:
        """Lose packets from now on."""
        if what is not PacketLoss.INCOMING:
            _ip("-n", self.name, *self._lost(self.near, "eth0"))
        if what is not PacketLoss.OUTGOING:
            _ip(*self._lost(self.far, self.name))

    def heal(self) -> None:
        """Stop losing packets."""
        for at, address, device in (
            (("-n", self.name), self.near, "eth0"),
            ((), self.far, self.name),
        ):
            _ip(*at, "neigh", "flush", "to", address, "dev", device, "nud", "all")

    @staticmethod
    def _lost(address: str, device: str) -> tuple[str, ...]:
        return ("neigh", "replace", address, "lladdr", _NOWHERE, "dev", device, "nud", "permanent")


def missing() -> str | None:
    """Return why this machine cannot create a namespace, or None if it can."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed: apt-get install iproute2"
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    tried = subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True)  # noqa: S607 found on PATH
    return None if tried.returncode == 0 else "this machine allows no network namespaces"


@contextlib.contextmanager
def host() -> Iterator[Host]:
    """Create a host for the block. Its addresses are from the range for such tests (RFC 2544)."""
    number = secrets.randbelow(64 * 256)
    near, far = (f"198.18.{number // 64}.{number % 64 * 4 + end}" for end in (1, 2))
    made = Host(f"rsc{secrets.token_hex(4)}", near, far)
    _ip("netns", "add", made.name)
    try:
        _ip("link", "add", made.name, "type", "veth", "peer", "name", "eth0", "netns", made.name)
        _ip("address", "add", f"{made.near}/30", "dev", made.name)
        _ip("link", "set", made.name, "up")
        _ip("-n", made.name, "address", "add", f"{made.far}/30", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", made.name, "link", "set", device, "up")
        yield made
    finally:
        _ip("netns", "delete", made.name)


def enter(name: str) -> None:
    """Move this process to that host: its sockets belong to the host, its files stay ours."""
    with Path("/run/netns", name).open(encoding="ascii") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"the namespace {name} cannot be entered")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)  # noqa: S607 found on PATH
