"""Shared by the checks of Postgres, NATS and Redis: missing drivers, URLs without secrets."""

from importlib import util
from urllib.parse import parse_qs, urlsplit

from rescind.client import causes
from rescind.client.causes import Fault
from rescind.errors import RescindError
from rescind_cli.doctor import findings
from rescind_cli.doctor.findings import Finding

DEADLINE_S = 5.0


def missing(part: str, module: str) -> Finding | None:
    """Return a finding if the driver of a part is not installed."""
    if util.find_spec(module) is not None:
        return None
    return findings.skipped(part, f"{module} is not installed here: not checked")


def place(url: str) -> str:
    """Return the server of a URL without user, password and options.

    An invalid URL is never quoted.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "the configured server"
    if not parts.scheme:
        return "the configured server"  # `host=db password=…`, perhaps
    if host:
        return f"{host}:{port}" if port else host
    # libpq takes the folder of a socket from a parameter, Redis from the path.
    return next(iter(parse_qs(parts.query).get("host", [])), parts.path) or "the configured server"


def reason(error: BaseException) -> str:
    """Return what a driver's error means, and never a value that it may contain."""
    cause = causes.of(error)
    if cause.kind is Fault.OTHER and isinstance(error, ValueError):
        return "the URL is not valid for such a server"
    return cause.description or "the URL is not valid for such a server"


def advice(error: BaseException, link: str, url: str, usual: str) -> str:
    """Return what to do about a driver's error; `usual` if nothing better is known."""
    cause = causes.of(error)
    return usual if cause.transient else cause.advice(link, url) or usual


def refused(part: str, error: RescindError) -> Finding:
    """Return a finding for a link whose settings are refused: nothing was sent over it."""
    message, _, todo = str(error).partition(". ")
    return findings.failed(part, message, f"{todo or 'Correct this setting'}.")
