"""Where a program finds the authority and its token, when it does not say."""

import os
from pathlib import Path

from rescind.core.secret import Secret
from rescind.errors import RescindError


def url() -> str:
    """Return RESCIND_URL, or the first that it names. Raises RescindError."""
    if found := os.environ.get("RESCIND_URL"):
        return found.partition(",")[0].strip()
    raise RescindError("no authority is named: set RESCIND_URL, or give Admin() a URL")


def token() -> Secret:
    """Return RESCIND_TOKEN: what a workload was given. Raises RescindError."""
    if found := os.environ.get("RESCIND_TOKEN"):
        return Secret(found.strip())
    raise RescindError("no token is named: set RESCIND_TOKEN, or give Bearer() one")


def admin_token() -> Secret:
    """Return RESCIND_ADMIN_TOKEN, or what RESCIND_ADMIN_TOKEN_FILE holds. Raises RescindError."""
    if found := os.environ.get("RESCIND_ADMIN_TOKEN"):
        return Secret(found.strip())
    if path := os.environ.get("RESCIND_ADMIN_TOKEN_FILE"):
        return read_token(Path(path))
    raise RescindError(
        "no admin token is named: set RESCIND_ADMIN_TOKEN_FILE to its file (or RESCIND_ADMIN_TOKEN)"
    )


def read_token(path: Path) -> Secret:
    """Read an admin token from its file. Raises RescindError."""
    try:
        return Secret(path.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not text"
        raise RescindError(f"the admin token cannot be read from {path}: {problem}") from error
