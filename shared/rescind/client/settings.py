"""The settings of a program: from the environment, and then from the data directory's `DIR/env`.

The command line and the SDK share this module, so that both find the same settings.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rescind.client import data_dir, tls
from rescind.client.data_dir import DataDirectoryError
from rescind.client.tls import LinkSecurity, TlsFiles
from rescind.core.secret import Secret
from rescind.errors import RescindError

RUN = Path("/run/rescind")
"""The directory of the sidecars' sockets, unless a setting names another."""

_SOCKET = "RESCIND_SOCKET"
_SERVICE = "RESCIND_SERVICE"
_URL = "RESCIND_URL"
_TOKEN = "RESCIND_ADMIN_TOKEN"  # noqa: S105 - the name of a variable
_HOLDER_TOKEN = "RESCIND_TOKEN"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, slots=True)
class Access:
    """The URL of the authority, the token for it, and the TLS settings of the link."""

    url: str
    token: Secret
    security: LinkSecurity


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings. `sources` are in order of precedence; `file_values` are those of `DIR/env`."""

    directory: Path
    file_values: Mapping[str, str]
    sources: tuple[Mapping[str, str], ...]

    def find(self, variable: str) -> str | None:
        """Return a setting, or None; an empty setting counts as none."""
        return next((value for each in self.sources if (value := each.get(variable))), None)

    def path(self, variable: str) -> Path | None:
        """Return the path that a setting names."""
        value = self.find(variable)
        return Path(value) if value else None

    def files(self, link: str) -> TlsFiles:
        """Return the files of a link's TLS."""
        names = (f"RESCIND_{link.upper()}_{each}_FILE" for each in ("CA", "CERT", "KEY"))
        return TlsFiles(link, *map(self.path, names))

    @property
    def plaintext(self) -> frozenset[str]:
        """Return the links that may leave this machine in clear text. Raises RescindError."""
        try:
            return tls.allowed(self.find(tls.ALLOW_PLAINTEXT))
        except ValueError as error:
            raise RescindError(f"{tls.ALLOW_PLAINTEXT}: {error}") from None

    @property
    def security(self) -> LinkSecurity:
        """Return the TLS settings of the link to an authority. Raises RescindError."""
        return LinkSecurity(self.files("authority"), "authority" in self.plaintext)

    @property
    def url(self) -> str | None:
        """Return the first RESCIND_URL that names an authority; it may name several."""
        values = (each.get(_URL) for each in self.sources)
        return next((url for url in values if url and urls(url)), None)

    def token_for(self, url: str) -> Secret | None:
        """Return the admin token for an authority. Raises RescindError if it cannot be read.

        The token of the data directory is only ever sent to the authority of that directory:
        another URL gets the token of the environment, or none.
        """
        for source in self.sources:
            if source is self.file_values and not set(urls(url)) <= set(urls(source.get(_URL))):
                continue
            if token := _find_token(source):
                return token
        return None

    def admin(self) -> Access:
        """Return the access for `Admin`. Raises RescindError for a missing setting."""
        url = self.require_url("Admin()")
        token = self.token_for(url)
        if token is None:
            raise RescindError(
                f"there is no admin token for {url}: set {_TOKEN}_FILE to the file that holds it, "
                f"or {_TOKEN} to the token, or pass a Secret to Admin()"
            )
        return Access(url, token, self.security)

    def holder(self) -> Access:
        """Return the access for `Bearer`. Raises RescindError for a missing setting."""
        url, token = self.require_url("Bearer()"), holder_token()
        if token is None:
            raise RescindError(
                f"there is no token: set {_HOLDER_TOKEN} to it, or pass a Secret to Bearer()"
            )
        return Access(url, token, self.security)

    def require_url(self, client: str) -> str:
        """Return `url`. Raises RescindError, whose text names `client` as the other way."""
        if (url := self.url) is not None:
            return url
        raise RescindError(
            f"no authority is set: set {_URL} to its URL, or pass the URL to {client}. "
            f"{_describe_sources(self.directory)}"
        )


def load(data: Path | None = None) -> Settings:
    """Return the settings. Raises DataDirectoryError.

    The environment has precedence over `DIR/env`. If `data` names the directory, `DIR/env` has
    precedence.
    """
    environ = dict(os.environ)
    if data is not None:
        file_values = data_dir.read_env(data)
        return Settings(data.absolute(), file_values, (file_values, environ))
    try:
        directory = data_dir.locate(environ)
    except DataDirectoryError:  # in a container, a user may have no home: read no file there
        return Settings(data_dir.DEFAULT, {}, (environ,))
    file_values = data_dir.read_env(directory)
    return Settings(directory, file_values, (environ, file_values))


def socket_path() -> Path:
    """Return the path of the sidecar's socket, from the environment or the data directory.

    RESCIND_SOCKET is the path. RESCIND_SERVICE is the service whose socket has the usual path. The
    data directory is only read if the environment has neither. Raises RescindError.
    """
    if (path := environment_socket()) is not None:
        return path
    settings = load()
    if (path_text := settings.find(_SOCKET)) is not None:
        return Path(path_text)
    raise RescindError(
        f"no sidecar is set: set {_SOCKET} to its socket, or {_SERVICE} to the service whose "
        f"socket is in {RUN}, or pass a path to Verifier.attach(). "
        f"{_describe_sources(settings.directory)}"
    )


def environment_socket() -> Path | None:
    """Return the path of the socket from the environment alone, or None."""
    if path := os.environ.get(_SOCKET):
        return Path(path)
    service = os.environ.get(_SERVICE)
    return default_socket_path(service) if service else None


def default_socket_path(service: str) -> Path:
    """Return the default path of the socket of a service's sidecar."""
    return RUN / f"{service}.sock"


def holder_token() -> Secret | None:
    """Return RESCIND_TOKEN, the token that a workload was started with, if there is one."""
    value = os.environ.get(_HOLDER_TOKEN)
    return Secret(value.strip()) if value else None


def urls(text: str | None) -> tuple[str, ...]:
    """Return the URLs of several authorities, which RESCIND_URL separates by commas."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def read_token(path: Path) -> Secret:
    """Read an admin token from its file. Raises RescindError."""
    try:
        return Secret(path.read_text(encoding="utf-8").strip())
    except UnicodeDecodeError:
        raise RescindError(f"{path} holds no admin token: it is not text") from None
    except OSError as error:
        raise RescindError(
            f"the admin token cannot be read from {path}: {error.strerror}. "
            "`rescind recover admin` on the authority's host makes a new one"
        ) from error


def _find_token(source: Mapping[str, str]) -> Secret | None:
    if value := source.get(_TOKEN):
        return Secret(value.strip())
    if path := source.get(f"{_TOKEN}_FILE"):
        return read_token(Path(path))
    return None


def _describe_sources(directory: Path) -> str:
    return (
        f"It was looked for in the environment and in {directory / 'env'}: "
        "`rescind up` starts a system and writes that file"
    )
