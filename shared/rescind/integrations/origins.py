"""The origin of a browser's request: the site itself, a trusted origin, or another one.

A browser sends the cookie along with a request of any page, so a request that may change something
must come from the site itself (RFC 6265, section 8.2). SameSite excludes other sites, but not
siblings: evil.example.com and app.example.com are one site. Browsers send the origin in
`Sec-Fetch-Site` (W3C Fetch Metadata) over TLS, and in `Origin` (RFC 6454) everywhere.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self
from urllib.parse import urlsplit

from rescind.integrations.asgi_call import Scope

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110 §9.2.1
_OWN = frozenset({b"same-origin", b"none"})  # `none`: the user's own action, such as a bookmark
_PORTS = {"http": 80, "https": 443}
_ORIGIN = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+", re.IGNORECASE)  # as browsers write it


@dataclass(frozen=True, slots=True)
class Origin:
    """The scheme, host and port of an origin."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse an origin, such as https://app.example.com. Raises ValueError."""
        if not _ORIGIN.fullmatch(text):
            raise ValueError(f"{text!r} is not an origin: https://HOST or https://HOST:PORT")
        parsed = urlsplit(text)
        if not parsed.hostname:
            raise ValueError(f"{text!r} names no host: https://HOST or https://HOST:PORT")
        return cls(parsed.scheme, parsed.hostname, parsed.port or _PORTS[parsed.scheme])

    @property
    def local(self) -> bool:
        """Return True if the host is this machine, for which browsers do not require TLS."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


class Origins:
    """The origins whose requests count as the site's own: the site itself and trusted origins."""

    def __init__(self, trusted: Collection[str], *, secure: bool) -> None:
        """Store the trusted origins.

        `secure` requires https of the site's own origin, except on this machine. Raises ValueError
        for a text that is not an origin.
        """
        if isinstance(trusted, str):
            raise ValueError("trusted_origins is a collection: put a single origin into a tuple")  # noqa: TRY004 like every other wrong value of it
        self._trusted = frozenset(map(Origin.parse, trusted))
        self._secure = secure

    def foreign(self, scope: Scope) -> bool:
        """Return True for an unsafe request that another origin's page may have sent.

        A request with neither header does not come from a current browser: no page of
        another site can make a browser leave both headers out.
        """
        if scope["type"] == "http" and scope["method"] in _SAFE:
            return False
        origins, sites = _find_values(scope, b"origin"), _find_values(scope, b"sec-fetch-site")
        if len(origins) > 1:
            return True
        if origins and _parse_origin(origins[0]) in self._trusted:
            return False
        if sites:
            return not _OWN.issuperset(sites)
        return bool(origins) and not self._is_own(origins[0], scope)

    def _is_own(self, header: bytes, scope: Scope) -> bool:
        """Return True if an origin is the one in the request's `Host`."""
        origin, hosts = _parse_origin(header), _find_values(scope, b"host")
        if origin is None or len(hosts) != 1:
            return False
        if self._secure and origin.scheme != "https" and not origin.local:
            return False
        return _parse_origin(f"{origin.scheme}://".encode() + hosts[0]) == origin


def _parse_origin(text: bytes) -> Origin | None:
    try:
        return Origin.parse(text.decode("ascii"))
    except ValueError:  # `null`, or a value that no browser sends
        return None


def _find_values(scope: Scope, wanted: bytes) -> list[bytes]:
    return [text.strip() for name, text in scope["headers"] if name.lower() == wanted]
