"""The links to servers: how a URL and the files beside it are read, and which are refused.

A link that leaves this machine uses TLS with a checked certificate, unless the setting
RESCIND_ALLOW_PLAINTEXT names the link. Each reader below parses a URL as its driver does: where the
two differ, the driver would connect to another host than the one that was checked.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from rescind.client import tls
from rescind.client.tls import PlaintextError, TlsError, TlsFiles

_NATS, _REDIS, _POSTGRES = map(TlsFiles, ("nats", "redis", "postgres"))  # no file is set

LISTENERS = ("grpc", "http")
"""The links at which a process of ours is the server."""

_CHECKED = {"verify-full", "verify-ca"}
_MODES = {"disable", "allow", "prefer", "require"} | _CHECKED
# Parameters that the driver applies itself, but ignores once it is given a context.
_IGNORED = ("sslcrl", "sslpassword", "ssl_min_protocol_version", "ssl_max_protocol_version")
_REDIS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


@dataclass(frozen=True, slots=True)
class NatsLink:
    """The link to NATS: the servers of a cluster, TLS, and the identity of this client."""

    urls: tuple[str, ...] = field(repr=False)
    files: TlsFiles = _NATS
    creds: Path | None = None
    """A `.creds` file: a user's JWT and its seed."""
    nkey: Path | None = None
    """The seed of a user."""

    @classmethod
    def read(cls, urls: str) -> "NatsLink":
        """Return the link for a value of RESCIND_NATS_URL, without any other setting."""
        return cls(tuple(each.strip() for each in urls.split(",")))

    @property
    def secured(self) -> bool:
        """Return True if each server must use TLS first: one tls:// or one file requires it."""
        return bool(self.files) or any(urlsplit(url).scheme == "tls" for url in self.urls)

    def require_safe(self, plaintext: Collection[str]) -> None:
        """Raise PlaintextError if this link would leave the machine in clear text."""
        if not self.secured and "nats" not in plaintext:
            _require_local("nats", "RESCIND_NATS_URL", map(_host, self.urls), "Write tls://…")


@dataclass(frozen=True, slots=True)
class RedisLink:
    """The link to Redis or Valkey."""

    url: str = field(repr=False)
    files: TlsFiles = _REDIS

    @property
    def secured(self) -> bool:
        """Return True if the link uses TLS with a checked certificate."""
        parts = urlsplit(self.url)
        parameters = parse_qs(parts.query)
        weak = any(
            name.startswith("ssl")
            and name not in _REDIS_FILES
            and (name, value[0].lower()) != ("ssl_cert_reqs", "required")
            for name, value in parameters.items()
        )
        return parts.scheme == "rediss" and not weak

    @property
    def tls(self) -> TlsFiles:
        """Return the files: those of the settings, else those that the URL names."""
        if self.files:
            return self.files
        parameters = parse_qs(urlsplit(self.url).query)
        return TlsFiles("redis", *(_path(parameters.get(name, [""])[0]) for name in _REDIS_FILES))

    def require_safe(self, plaintext: Collection[str]) -> None:
        """Raise PlaintextError if this link would leave the machine in clear text.

        Raises TlsError if the files beside the URL would not be used.
        """
        parts = urlsplit(self.url)
        advice = "Write rediss://…"
        if parts.scheme == "rediss":
            advice = "Take ssl_cert_reqs and ssl_check_hostname out of it, for what they switch off"
        if self.files and not self.secured:
            raise TlsError(
                "RESCIND_REDIS_URL: it is not TLS that is checked, and "
                f"RESCIND_REDIS_{_first(self.files)}_FILE would not be used. {advice}"
            )
        if parts.scheme == "unix" or self.secured or "redis" in plaintext:
            return
        # Without a host in its place the driver uses the query's host, else its default.
        host = parts.hostname or parse_qs(parts.query).get("host", ["localhost"])[0]
        _require_local("redis", "RESCIND_REDIS_URL", [unquote(host)], advice)


@dataclass(frozen=True, slots=True)
class PostgresLink:
    """The link to Postgres."""

    dsn: str = field(repr=False)
    files: TlsFiles = _POSTGRES
    password_file: Path | None = None
    default_host: str | None = None
    """PGHOST, which the driver uses if the URL names no host."""

    @property
    def _parameters(self) -> dict[str, str]:
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.dsn).query).items()}

    @property
    def mode(self) -> str | None:
        """Return the sslmode: with TLS files verify-full, unless the URL contains verify-ca."""
        return self._parameters.get("sslmode") or ("verify-full" if self.files else None)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return the hosts and the folders of sockets, as asyncpg finds them."""
        _, at, named = (netloc := urlsplit(self.dsn).netloc).partition("@")
        parameters = self._parameters
        if found := named if at else netloc:
            return tuple(unquote(_postgres_host(each.strip())) for each in found.split(","))
        listed = parameters.get("host") or parameters.get("service") or self.default_host or ""
        return tuple(_postgres_host(each.strip()) for each in listed.split(",") if each)

    def require_safe(self, plaintext: Collection[str]) -> None:
        """Raise PlaintextError if this link would leave the machine in clear text.

        Raises TlsError if URL and files contradict each other.
        """
        mode = self.mode
        if mode is not None and mode not in _MODES:
            raise TlsError(f"RESCIND_POSTGRES_DSN: sslmode is one of {', '.join(sorted(_MODES))}")
        if self.files and mode not in _CHECKED:
            raise TlsError(
                f"RESCIND_POSTGRES_DSN: sslmode={mode} would leave "
                f"RESCIND_POSTGRES_{_first(self.files)}_FILE unused. Write sslmode=verify-full, or "
                "leave it out"
            )
        if mode in _CHECKED:
            self._require_applied(mode)
        elif "postgres" not in plaintext:
            advice = "Write sslmode=verify-full, or set RESCIND_POSTGRES_CA_FILE"
            remote = (host for host in self.hosts if not host.startswith("/"))
            _require_local("postgres", "RESCIND_POSTGRES_DSN", remote, advice)

    def _require_applied(self, mode: str | None) -> None:
        parameters = self._parameters
        for name in _IGNORED:
            if name in parameters:
                raise TlsError(f"RESCIND_POSTGRES_DSN: {name} is not supported with {mode}")
        if mode == "verify-ca" and self._tls.ca is None:
            raise TlsError(
                "RESCIND_POSTGRES_DSN: sslmode=verify-ca needs a CA of your own, in "
                "RESCIND_POSTGRES_CA_FILE: every CA of the system would do otherwise"
            )

    @property
    def _tls(self) -> TlsFiles:
        parameters = self._parameters
        named = (parameters.get(name) for name in ("sslrootcert", "sslcert", "sslkey"))
        given = (self.files.ca, self.files.cert, self.files.key)
        found = (own or _path(path) for own, path in zip(given, named, strict=True))
        return TlsFiles("postgres", *found)

    def options(self) -> dict[str, Any]:
        """Return the options of asyncpg besides the URL. Raises TlsError.

        The password is read for each connection, so that it can be changed while this runs.
        """
        options: dict[str, Any] = {}
        if self.mode in _CHECKED:
            context = self._tls.client()
            context.check_hostname = self.mode == "verify-full"
            options["ssl"] = context
        if self.password_file is not None:
            _password(self.password_file)
            options["password"] = _reading(self.password_file)
        return options


def require_safe_authority(urls: Sequence[str], plaintext: Collection[str]) -> None:
    """Raise PlaintextError if requests to an authority would leave the machine in clear text."""
    if "authority" not in plaintext:
        clear = (_host(url) for url in urls if urlsplit(url).scheme == "http")
        _require_local("authority", "RESCIND_URL", clear, "Write https://…")


def require_safe_listener(address: str, files: TlsFiles, plaintext: Collection[str]) -> None:
    """Raise PlaintextError if a listener would serve beyond this machine in clear text.

    An address of all interfaces counts as beyond this machine. `files` names the link: http, grpc.
    """
    if files or files.link in plaintext:
        return
    host, colon, _ = address.rpartition(":")
    if colon and not tls.local(host.strip("[]")):  # an invalid address is refused later
        variable = f"RESCIND_{files.link.upper()}"
        raise PlaintextError(
            f"{variable}: {address} would be served in clear text beyond this machine. Set "
            f"{variable}_CERT_FILE and {variable}_KEY_FILE; or listen at 127.0.0.1, behind a "
            "proxy of this host that ends TLS; or, where the network between is trusted, name the "
            f"link: {tls.ALLOW_PLAINTEXT}={files.link}"
        )


def _require_local(link: str, variable: str, hosts: Iterable[str], advice: str) -> None:
    for host in hosts:
        if not tls.local(host):
            raise PlaintextError(tls.refusal(variable, link, host, advice))


def _path(text: str | None) -> Path | None:
    """Return the file that a URL names, or None: for `system` libpq uses the trust store."""
    return Path(text) if text and text != "system" else None


def _host(url: str) -> str:
    return urlsplit(url).hostname or "what it names"


def _postgres_host(text: str) -> str:
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text if text.startswith("/") else text.partition(":")[0]


def _first(files: TlsFiles) -> str:
    return "CA" if files.ca else "CERT" if files.cert else "KEY"


def _reading(path: Path) -> Callable[[], str]:
    return lambda: _password(path)


def _password(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise TlsError(f"RESCIND_POSTGRES_PASSWORD_FILE: {path} cannot be read: {why}") from error
