"""The clients for threads: `python -m tests.support.sync_client` writes them from the async ones.

The package unasync replaces names, and leaves docstrings alone; it needs setuptools, which the lock
cannot pin. unasyncd needs an older rich than the command line does. So this module is a list of
replacements, as in httpcore; ruff formats the result.
"""

import re
import subprocess
import sys
from pathlib import Path

ADMIN = Path(__file__).parents[2] / "shared" / "rescind" / "client" / "admin"
SOURCE, TARGET = ADMIN / "async_client", ADMIN / "sync_client"

_NOTICE = (
    "# Generated from async_client/{name} by `python -m tests.support.sync_client`: edit that.\n"
)
_REPLACEMENTS = (
    (r"async (?=def|with|for)|await ", ""),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\basync_client\b", "sync_client"),
    (r"\b(__)?a(?=(?:enter|exit|close|closing|read)\b|(?:enter|exit)__)", r"\1"),
    (r"\basyncio\b", "time"),
    (r" The package `sync_client` is generated from this one\.", ""),
    (r"for event loops", "for threads"),
)
_LEFT = re.compile(r"\basync\b|\bawait\b|Async|asyncio", re.ASCII)


def generate() -> dict[str, str]:
    """Return the text of each module, by its file name."""
    return {path.name: _translated(path) for path in sorted(SOURCE.glob("*.py"))}


def _translated(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    for pattern, replacement in _REPLACEMENTS:
        text = re.sub(pattern, replacement, text)
    if left := _LEFT.search(text):
        raise ValueError(f"{path}: {left[0]!r} has no replacement in {__file__}")
    return _formatted(_NOTICE.format(name=path.name) + text)


def _formatted(text: str) -> str:
    ruff = Path(sys.executable).with_name("ruff")
    fix = ("check", "--quiet", "--fix", "--unsafe-fixes", "--select", "I,SIM117,UP028")
    for command in (fix, ("format", "--quiet")):
        run = subprocess.run(
            [ruff, *command, "--stdin-filename", TARGET / "connection.py", "-"],
            input=text,
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
        text = run.stdout
    return text


def main() -> None:
    """Write the modules."""
    TARGET.mkdir(exist_ok=True)
    for name, text in generate().items():
        (TARGET / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
