"""The open connections: bounded in all and for each peer; the idlest makes room for a new one.

To refuse the new one instead would let a client that opens silent connections turn the service
off. Those that were never answered go first, in the order in which they came, then the one
that was answered the longest ago; one that waits for an answer never goes.
"""

import socket
from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

_MOST_LOOKED_AT = 64
_V4_IN_V6 = bytes(10) + b"\xff\xff"
_NETWORK_BYTES = 8  # of an IPv6 address: a host may choose among all the rest

Peer = bytes


class Member(Protocol):
    """A connection."""

    @property
    def idle(self) -> bool:
        """Whether nothing keeps it but the other side."""
        ...

    def make_room(self) -> None:
        """End it, now that another one needs its place."""
        ...


class _Order:
    """Connections in the order in which they are to go."""

    __slots__ = ("answered", "fresh")

    def __init__(self) -> None:
        self.fresh: OrderedDict[Member, Peer] = OrderedDict()
        self.answered: OrderedDict[Member, Peer] = OrderedDict()

    def __len__(self) -> int:
        return len(self.fresh) + len(self.answered)

    def idlest(self) -> Member | None:
        """Return the one that is to go first; None where many in a row wait for an answer."""
        for members in (self.fresh, self.answered):
            for _ in range(min(len(members), _MOST_LOOKED_AT)):
                member = next(iter(members))
                if member.idle:
                    return member
                members.move_to_end(member)  # as its answer will do, and the next look begins later
        return None

    def remove(self, member: Member) -> Peer | None:
        """Remove a connection; return its peer, or None if it is not among them."""
        peer = self.fresh.pop(member, None)
        return self.answered.pop(member, None) if peer is None else peer


class Roster:
    """Keep so many connections, and so many of one peer."""

    def __init__(self, *, most: int, most_of_a_peer: int) -> None:
        self._most = most
        self._most_of_a_peer = most_of_a_peer
        self._all = _Order()
        self._peers: dict[Peer, _Order] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Member]:
        yield from self._all.fresh
        yield from self._all.answered

    def admit(self, member: Member, peer: Peer) -> bool:
        """Add a connection. Return False if all others, or all of its peer, wait for an answer."""
        own = self._peers.get(peer)
        if own is not None and len(own) >= self._most_of_a_peer and not self._make_room(own):
            return False
        if len(self._all) >= self._most and not self._make_room(self._all):
            return False
        self._peers.setdefault(peer, _Order()).fresh[member] = peer
        self._all.fresh[member] = peer
        return True

    def answered(self, member: Member) -> None:
        """Record that a connection was answered just now."""
        peer = self._all.answered.get(member)
        if peer is not None:  # as nearly always: no more than two moves for each call
            self._all.answered.move_to_end(member)
            self._peers[peer].answered.move_to_end(member)
            return
        peer = self._all.fresh.get(member)
        if peer is not None:
            for order in (self._all, self._peers[peer]):
                order.answered[member] = order.fresh.pop(member)

    def discard(self, member: Member) -> None:
        """Forget a connection."""
        peer = self._all.remove(member)
        if peer is None:
            return
        own = self._peers[peer]
        own.remove(member)
        if not own:
            del self._peers[peer]

    def _make_room(self, order: _Order) -> bool:
        member = order.idlest()
        if member is None:
            return False
        self.discard(member)
        member.make_room()
        return True


def peer_of(name: object) -> Peer:
    """Return what tells peers apart in a socket's name: the address, or the network in IPv6."""
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
