"""Where the commands find the system: flags, then the environment, then `DIR/env`.

These are not the settings of the services, which pydantic validates: pydantic takes too long for a
short command.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from rescind.client import settings as sdk
from rescind.client.settings import Access, Settings, holder_token, urls
from rescind.client.tls import LinkSecurity
from rescind.errors import RescindError, UnreachableError
from rescind_runtime import data_dir

__all__ = ["holder_token", "urls"]


@dataclass(frozen=True, slots=True)
class LocalSettings(Settings):
    """The settings here, as the SDK reads them, and those that only commands read."""

    @property
    def configured(self) -> bool:
        """Return True if any variable of rescind is set, besides RESCIND_DATA."""
        return any(
            name.startswith("RESCIND_") and name != "RESCIND_DATA"
            for source in self.sources
            for name in source
        )

    def secret(self, variable: str) -> str | None:
        """Return a secret, or the content of the file that `<variable>_FILE` names."""
        if direct := self.find(variable):
            return direct
        path = self.path(f"{variable}_FILE")
        return None if path is None else sdk.read_token(path).reveal()

    @property
    def postgres_host(self) -> str | None:
        """Return the host to which the Postgres driver connects if a URL names none."""
        service = os.environ.get("PGSERVICE")
        return f"service {service}" if service else os.environ.get("PGHOST")


def load(data: Path | None) -> LocalSettings:
    """Return all settings here. Raises DataDirectoryError."""
    found = sdk.load(data)
    return LocalSettings(found.directory, found.file_values, found.sources)


def environment() -> dict[str, str]:
    """Return a copy of the environment, to start another program with."""
    return dict(os.environ)


def authority(*, url: str | None, data: Path | None) -> Access:
    """Return the authority and an admin token for it. Raises RescindError.

    The token in the data directory is only ever sent to the authority of that directory.
    """
    local = load(data)
    url = url or _url(local)
    if (token := local.token_for(url)) is not None:
        return Access(url, token, local.security)
    raise RescindError(
        f"there is no admin token for {url}: "
        "set RESCIND_ADMIN_TOKEN_FILE to its file (or RESCIND_ADMIN_TOKEN)"
    )


def authority_url(*, url: str | None, data: Path | None) -> str:
    """Return the authority's URL, for a caller with its own token. Raises UnreachableError."""
    return url or _url(load(data))


def link_security(*, data: Path | None) -> LinkSecurity:
    """Return how an authority may be reached from here. Raises RescindError."""
    return load(data).security


def sidecar(*, path: Path | None, data: Path | None) -> Path | None:
    """Return the sidecar's socket; None leaves it to the SDK. Raises UnreachableError."""
    if path is not None:
        return path
    if data is None and sdk.environment_socket() is not None:
        return None
    if (found := load(data).file_values.get("RESCIND_SOCKET")) is not None:
        return Path(found)
    raise UnreachableError(
        "no sidecar is configured: start one with `rescind up`, or set RESCIND_SOCKET to its socket"
    )


def trust(*, data: Path | None) -> Path:
    """Return the installation's trust file."""
    named = os.environ.get("RESCIND_TRUST_FILE")
    return Path(named) if named else (data or data_dir.locate(os.environ)) / "trust"


def _url(local: LocalSettings) -> str:
    if (found := local.url) is None:
        raise UnreachableError(
            "no authority is configured: start one with `rescind up`, or set RESCIND_URL"
        )
    return found
