"""What the checks of Postgres, NATS and Redis share: drivers may be missing, URLs hide secrets."""

import os
import re
from importlib import util
from urllib.parse import parse_qs, urlsplit

from rescind_cli.checkup import findings
from rescind_cli.checkup.findings import Finding

DEADLINE_S = 5.0

_SPACED = re.compile(r"(?<=[a-z])(?=[A-Z])")


def missing(part: str, module: str) -> Finding | None:
    """Say that a part cannot be looked at, if its driver is not installed."""
    if util.find_spec(module) is not None:
        return None
    return findings.skipped(part, f"{module} is not installed here: not checked")


def place(url: str) -> str:
    """Name the server of a URL, without user, password or options; what is no URL is not quoted."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "what is configured"
    if not parts.scheme:
        return "what is configured"  # `host=db password=…`, perhaps
    if host:
        return f"{host}:{port}" if port else host
    # libpq takes the folder of a socket from a parameter, Redis from the path.
    return next(iter(parse_qs(parts.query).get("host", [])), parts.path) or "what is configured"


def reason(error: BaseException) -> str:
    """Say what a driver's error means, and never a value that it may carry."""
    each: BaseException | None = error
    while each is not None:
        if isinstance(each, TimeoutError):
            return "no answer in time"
        if isinstance(each, OSError) and each.errno:
            return os.strerror(each.errno).lower()
        each = each.__cause__ or each.__context__
    if isinstance(error, ValueError):
        return "it is no URL of such a server"
    if "authorization" in str(error).lower():
        return "user or password are refused"
    name = type(error).__name__.removesuffix("Error")
    return _SPACED.sub(" ", name).lower() or "it is no URL of such a server"
