"""Where the commands find the system: flags, then the environment, then `DIR/env`.

Not the settings of the services: those validate with pydantic, which a short command cannot afford.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rescind.core.secret import Secret
from rescind.errors import RescindError, UnreachableError
from rescind_runtime import data_dir

_URL = "RESCIND_URL"
_TOKEN = "RESCIND_ADMIN_TOKEN"  # noqa: S105 - the name of a variable
_TOKEN_FILE = "RESCIND_ADMIN_TOKEN_FILE"  # noqa: S105 - the name of a variable
_WORKLOAD_TOKEN = "RESCIND_TOKEN"  # noqa: S105 - the name of a variable
_SOCKET = "RESCIND_SOCKET"
_SERVICE = "RESCIND_SERVICE"


@dataclass(frozen=True, slots=True)
class Authority:
    """Where the authority is, and what it knows us by."""

    url: str
    token: Secret


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is configured here: by the environment, and by `DIR/env`.

    `sources` are in the order in which they count.
    """

    directory: Path
    sources: tuple[Mapping[str, str], ...]

    @property
    def configured(self) -> bool:
        """Whether anything of ours is set at all, besides where to look."""
        return any(
            name.startswith("RESCIND_") and name != "RESCIND_DATA"
            for source in self.sources
            for name in source
        )

    def find(self, variable: str) -> str | None:
        """Give a setting; an empty one counts as none."""
        return next((found for each in self.sources if (found := each.get(variable))), None)

    def secret(self, variable: str) -> str | None:
        """Give a secret, or the content of the file that `<variable>_FILE` names."""
        if direct := self.find(variable):
            return direct
        path = self.find(f"{variable}_FILE")
        return None if path is None else _read(Path(path)).reveal()


def surroundings(data: Path | None) -> Surroundings:
    """Collect all that is configured here. Raises DataDirectoryError."""
    environ, kept = environment(), _kept(data)
    directory = (data or data_dir.locate(os.environ)).absolute()
    return Surroundings(directory, (environ, kept) if data is None else (kept, environ))


def environment() -> dict[str, str]:
    """Return a copy of the environment, to start another program with."""
    return dict(os.environ)


def authority(*, url: str | None, data: Path | None) -> Authority:
    """Find the authority and an admin token for it. Raises RescindError.

    The token in the data directory is only ever sent to the authority of that directory: another
    URL, however it was named, gets the token of the environment or none.
    """
    environ, kept = environment(), _kept(data)
    sources = (environ, kept) if data is None else (kept, environ)
    url = url or _url(sources)
    for source in sources:
        ours = source is not kept or url == first(kept.get(_URL))
        if ours and (token := _token(source)):
            return Authority(url, token)
    raise RescindError(
        f"there is no admin token for {url}: "
        "set RESCIND_ADMIN_TOKEN_FILE to its file (or RESCIND_ADMIN_TOKEN)"
    )


def authority_url(*, url: str | None, data: Path | None) -> str:
    """Find the authority for whoever brings a token along. Raises UnreachableError."""
    environ, kept = environment(), _kept(data)
    return url or _url((environ, kept) if data is None else (kept, environ))


def workload_token() -> Secret | None:
    """Give RESCIND_TOKEN, the token that a workload was started with, if there is one."""
    found = os.environ.get(_WORKLOAD_TOKEN)
    return Secret(found.strip()) if found else None


def first(urls: str | None) -> str | None:
    """Give the first of several URLs: RESCIND_URL may name every authority, for the sidecars."""
    return urls and urls.partition(",")[0].strip()


def sidecar(*, path: Path | None, data: Path | None) -> Path | None:
    """Find the sidecar's socket; None leaves it to the SDK. Raises UnreachableError."""
    if path is not None:
        return path
    if data is None and (os.environ.get(_SOCKET) or os.environ.get(_SERVICE)):
        return None
    if found := _kept(data).get(_SOCKET):
        return Path(found)
    raise UnreachableError(
        "no sidecar is named, and none runs on this machine: "
        "start one with `rescind up`, or set RESCIND_SOCKET to its socket"
    )


def trust(*, data: Path | None) -> Path:
    """Find the installation's trust file."""
    named = os.environ.get("RESCIND_TRUST_FILE")
    return Path(named) if named else (data or data_dir.locate(os.environ)) / "trust"


def _kept(data: Path | None) -> dict[str, str]:
    return data_dir.read_env(data or data_dir.locate(os.environ))


def _url(sources: Iterable[Mapping[str, str]]) -> str:
    found = next((url for source in sources if (url := first(source.get(_URL)))), None)
    if found is None:
        raise UnreachableError(
            "no authority is named, and none runs on this machine: "
            "start one with `rescind up`, or set RESCIND_URL"
        )
    return found


def _token(source: Mapping[str, str]) -> Secret | None:
    if found := source.get(_TOKEN):
        return Secret(found.strip())
    if path := source.get(_TOKEN_FILE):
        return _read(Path(path))
    return None


def _read(path: Path) -> Secret:
    try:
        return Secret(path.read_text(encoding="utf-8").strip())
    except UnicodeDecodeError:
        raise RescindError(f"{path} holds no admin token: it is not text") from None
    except OSError as error:
        raise RescindError(
            f"the admin token cannot be read from {path}: {error.strerror}. "
            "`rescind recover admin` on the authority's host makes a new one"
        ) from error
