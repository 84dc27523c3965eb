"""TLS of a link: the trusted CA, the own certificate, and where clear text is allowed.

A link is named as in its settings: `RESCIND_<LINK>_CA_FILE`, `_CERT_FILE`, `_KEY_FILE`.
"""

import ipaddress
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rescind.errors import RescindError

LINKS = ("authority", "grpc", "http", "nats", "postgres", "redis")
"""The links of an installation, as RESCIND_ALLOW_PLAINTEXT names them."""

ALLOW_PLAINTEXT = "RESCIND_ALLOW_PLAINTEXT"


class TlsError(RescindError):
    """Raised for a TLS file of a link that cannot be used; the text names the file and why."""


class PlaintextError(RescindError):
    """Raised for a link that would leave this machine in clear text; nothing was sent over it."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The PEM files of one side of a link: the CA to trust, an own certificate and its key.

    Without a CA, the system's trust store counts, or the file that SSL_CERT_FILE names. Without a
    key, the certificate's file contains it.
    """

    link: str
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def __bool__(self) -> bool:
        return any((self.ca, self.cert, self.key))

    def client(self) -> ssl.SSLContext:
        """Return the context of a client, which checks the chain and the host name of the server.

        Raises TlsError.
        """
        if self.key is not None and self.cert is None:
            raise TlsError(f"{self.variable('key')} is set without {self.variable('cert')}")
        # With a CA of its own, the link does not trust the CAs of the system.
        context = ssl.create_default_context(cafile=self._require_readable("ca", self.ca))
        self.identify(context)
        return context

    def server(self) -> ssl.SSLContext:
        """Return the context of a server; with a CA, each client needs a certificate from it.

        Raises TlsError.
        """
        if self.cert is None:
            missing = self.variable("cert")
            variable = self.variable("ca" if self.key is None else "key")
            raise TlsError(f"{variable} is set without {missing}")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.options |= ssl.OP_NO_RENEGOTIATION
        self.identify(context)
        if self.ca is not None:
            self._load("ca", self.ca, lambda: context.load_verify_locations(cafile=self.ca))
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def identify(self, context: ssl.SSLContext) -> None:
        """Load the own certificate, if there is one. Raises TlsError."""
        cert = self.cert
        if cert is None:
            return
        self._require_readable("cert", cert)
        self._require_readable("key", self.key)
        # Without a password callback, OpenSSL would ask for a password at the terminal.
        self._load("cert", cert, lambda: context.load_cert_chain(cert, self.key, lambda: ""))

    def variable(self, which: str) -> str:
        """Return the name of the setting of one of the files."""
        return f"RESCIND_{self.link.upper()}_{which.upper()}_FILE"

    def _require_readable(self, which: str, path: Path | None) -> str | None:
        if path is None:
            return None
        try:
            with path.open("rb") as file:
                file.read(1)
        except OSError as error:
            raise TlsError(
                f"{self.variable(which)}: {path} cannot be read: {error.strerror}"
            ) from error
        if which == "ca":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._load(which, path, lambda: context.load_verify_locations(cafile=path))
        return str(path)

    def _load(self, which: str, path: Path, load: Callable[[], None]) -> None:
        try:
            load()
        except OSError as error:  # ssl.SSLError is an OSError
            raise TlsError(
                f"{self.variable(which)}: {path} {_describe_failure(which, error)}"
            ) from error


@dataclass(frozen=True, slots=True)
class LinkSecurity:
    """The TLS files of a link, and whether clear text may leave this machine."""

    files: TlsFiles
    plaintext: bool


def _describe_failure(which: str, error: OSError) -> str:
    if not isinstance(error, ssl.SSLError):
        return f"cannot be read: {error.strerror}"
    if which == "ca":
        return "holds no certificate in PEM"
    if error.reason == "KEY_VALUES_MISMATCH":
        return "is not the certificate of the key beside it"
    return "cannot be used: a certificate chain and its key in PEM, not encrypted, are needed"


def local(host: str | None) -> bool:
    """Return True if data for a host stays on this machine.

    That holds for loopback addresses and for `localhost`. Other spellings of such an address
    (127.1) do not count: a host that is not certainly local is not local.
    """
    if host is None:
        return False
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host.lower() == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def allowed(text: str | None) -> frozenset[str]:
    """Return the links that RESCIND_ALLOW_PLAINTEXT names. Raises ValueError for another name."""
    names = frozenset(part.strip() for part in (text or "").split(",") if part.strip())
    if unknown := sorted(names - set(LINKS)):
        raise ValueError(f"{unknown[0]!r} is not a link: expected any of {', '.join(LINKS)}")
    return names


def refusal(variable: str, link: str, host: str, advice: str) -> str:
    """Return why a link is refused, and both remedies. `advice` is how to use TLS there."""
    return (
        f"{variable}: {host} would be reached in clear text. {advice}, or, where the network "
        f"between is trusted, name the link: {ALLOW_PLAINTEXT}={link}"
    )
