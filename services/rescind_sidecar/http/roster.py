"""The open connections, bounded in total and for each peer.

Above a bound, the idlest connection is closed for a new one. If the new one were refused instead, a
client could disable the service by opening silent connections. Connections that were never answered
are closed first, in the order in which they arrived, then the one that was answered the longest
ago. A connection that waits for an answer is never closed.
"""

import socket
from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

_MAX_SCANNED = 64
_V4_IN_V6 = bytes(10) + b"\xff\xff"
_NETWORK_BYTES = 8  # of an IPv6 address: a host may choose among all the rest

Peer = bytes


class Member(Protocol):
    """A connection."""

    @property
    def idle(self) -> bool:
        """Return True if the connection waits only for the client."""
        ...

    def make_room(self) -> None:
        """End the connection, because another one needs its place."""
        ...


class _ClosingOrder:
    """Connections in the order in which they are to be closed."""

    __slots__ = ("answered", "fresh")

    def __init__(self) -> None:
        self.fresh: OrderedDict[Member, Peer] = OrderedDict()
        self.answered: OrderedDict[Member, Peer] = OrderedDict()

    def __len__(self) -> int:
        return len(self.fresh) + len(self.answered)

    def idlest(self) -> Member | None:
        """Return the connection to close first, or None if none of the first 64 is idle."""
        for members in (self.fresh, self.answered):
            for _ in range(min(len(members), _MAX_SCANNED)):
                member = next(iter(members))
                if member.idle:
                    return member
                members.move_to_end(member)  # so that the next search is shorter
        return None

    def remove(self, member: Member) -> Peer | None:
        """Remove a connection; return its peer, or None if the connection is not stored."""
        peer = self.fresh.pop(member, None)
        return self.answered.pop(member, None) if peer is None else peer


class Roster:
    """Store at most `most` connections, and at most `most_of_a_peer` of one peer."""

    def __init__(self, *, most: int, most_of_a_peer: int) -> None:
        self._most = most
        self._most_of_a_peer = most_of_a_peer
        self._all = _ClosingOrder()
        self._peers: dict[Peer, _ClosingOrder] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Member]:
        yield from self._all.fresh
        yield from self._all.answered

    def admit(self, member: Member, peer: Peer) -> bool:
        """Add a connection; return False if there is no place and no idle one to close."""
        own = self._peers.get(peer)
        if own is not None and len(own) >= self._most_of_a_peer and not self._make_room(own):
            return False
        if len(self._all) >= self._most and not self._make_room(self._all):
            return False
        self._peers.setdefault(peer, _ClosingOrder()).fresh[member] = peer
        self._all.fresh[member] = peer
        return True

    def answered(self, member: Member) -> None:
        """Record that a connection was answered just now."""
        peer = self._all.answered.get(member)
        if peer is not None:  # the usual case, which costs two moves for each call
            self._all.answered.move_to_end(member)
            self._peers[peer].answered.move_to_end(member)
            return
        peer = self._all.fresh.get(member)
        if peer is not None:
            for order in (self._all, self._peers[peer]):
                order.answered[member] = order.fresh.pop(member)

    def discard(self, member: Member) -> None:
        """Remove a connection."""
        peer = self._all.remove(member)
        if peer is None:
            return
        own = self._peers[peer]
        own.remove(member)
        if not own:
            del self._peers[peer]

    def _make_room(self, order: _ClosingOrder) -> bool:
        member = order.idlest()
        if member is None:
            return False
        self.discard(member)
        member.make_room()
        return True


def peer_of(name: object) -> Peer:
    """Return the peer in a socket's name: the IPv4 address, or the IPv6 network (/64)."""
    if not isinstance(name, tuple) or not name or not isinstance(name[0], str):
        return b"unix"
    host = name[0].partition("%")[0]
    try:
        address = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except OSError:
        return host.encode()
    if address.startswith(_V4_IN_V6):
        return address[len(_V4_IN_V6) :]
    return address[:_NETWORK_BYTES]
