"""The caller behind proxies: forwarded addresses are trusted from configured proxies alone.

Any client may send `X-Forwarded-For`. A proxy appends the address that it was called from,
so the list is read from its end up to the first address that is not a configured proxy.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

_Network = IPv4Network | IPv6Network

_HEADER = b"x-forwarded-for"


class Proxies:
    """The proxies whose headers are trusted."""

    def __init__(self, networks: Sequence[_Network] = ()) -> None:
        self._networks = tuple(networks)

    @classmethod
    def parse(cls, text: str | None) -> "Proxies":
        """Parse addresses and networks, separated by commas. Raises ValueError."""
        return cls([_network(part.strip()) for part in (text or "").split(",") if part.strip()])

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: str | None) -> bool:
        parsed = _address(address or "")
        return parsed is not None and self._trusted(parsed)

    def caller(self, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Return the address that the nearest trusted proxies were called from.

        Return None if the headers do not contain one: the caller's address is then unknown.
        """
        values = [value for name, value in headers if name.lower() == _HEADER]
        for text in reversed(b",".join(values).decode("latin-1").split(",")):
            parsed = _address(text.strip())
            if parsed is None:
                return None
            if not self._trusted(parsed):
                return str(parsed)
        return None

    def _trusted(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)


class Forwarded:
    """ASGI middleware that replaces a proxy's address with the caller's.

    `Host`, `X-Forwarded-Proto`, `X-Forwarded-Host` and `Forwarded` are not read.
    """

    def __init__(self, app: Any, proxies: Proxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["client"] and scope["client"][0] in self._proxies:
            caller = self._proxies.caller(scope["headers"])
            scope["client"] = None if caller is None else (caller, 0)
        await self._app(scope, receive, send)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


def _network(text: str) -> _Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(
            f"expected addresses or networks, such as 10.0.0.5, 10.1.0.0/16 ({error})"
        ) from None
