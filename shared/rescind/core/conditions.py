"""Conditions on where a token may be used. Each verifier evaluates them itself, on every check.

`addresses` are networks (CIDR, RFC 4632), one of which must contain the caller's address.
`verifier` are labels, such as region=eu, all of which the verifier must have. The operator of the
verifier sets them.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from rescind.errors import ConditionError

MAX_ADDRESSES = 16
MAX_VERIFIER_LABELS = 16
_MAX_NETWORK = 64

_Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of one token; both lists are sorted."""

    addresses: tuple[str, ...] = ()
    verifier: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.addresses or self.verifier)

    def admits(self, address: str | None) -> bool:
        """Return True if a caller at this address may use the token.

        With networks, an unknown address (None) is not admitted.
        """
        if not self.addresses:
            return True
        caller = None if address is None else _parse_address(address)
        return caller is not None and any(
            caller in each for each in _parse_networks(self.addresses)
        )

    def fits(self, labels: Collection[tuple[str, str]]) -> bool:
        """Return True if a verifier with these labels may accept the token."""
        return all(label in labels for label in self.verifier)

    def within(self, outer: "Conditions") -> bool:
        """Return True if every network lies in one of the outer networks."""
        if not outer.addresses:
            return True
        wide = _parse_networks(outer.addresses)
        return all(
            any(_is_inside(each, other) for other in wide)
            for each in _parse_networks(self.addresses)
        )


UNCONDITIONAL = Conditions()


def network(text: str) -> str:
    """Return a network in its canonical form. Raises ConditionError."""
    expected = "expected, for example, 10.0.0.0/8 or 2001:db8::/32"
    if len(text) > _MAX_NETWORK or "%" in text:  # a zone is valid on one machine only
        raise ConditionError(f"{text[:_MAX_NETWORK]!r} is not a network: {expected}, and no zone")
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise ConditionError(f"{text!r} is not a network ({error}): {expected}") from None


def labels(pairs: Iterable[str]) -> frozenset[tuple[str, str]]:
    """Parse the labels of a verifier, each `key=value`. Raises ConditionError."""
    parsed: set[tuple[str, str]] = set()
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not (key and equals):
            raise ConditionError(f"{pair[:64]!r} is not a label: expected key=value")
        parsed.add((key, text))
    return frozenset(parsed)


@lru_cache(4_096)
def _parse_networks(addresses: tuple[str, ...]) -> tuple[_Network, ...]:
    return tuple(ip_network(each) for each in addresses)


@lru_cache(4_096)
def _parse_address(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


def _is_inside(inner: _Network, outer: _Network) -> bool:
    match inner, outer:
        case (IPv4Network(), IPv4Network()):
            return inner.subnet_of(outer)
        case (IPv6Network(), IPv6Network()):
            return inner.subnet_of(outer)
        case _:
            return False
