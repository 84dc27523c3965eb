"""Files here: the data directory, its settings, and the files that hold secrets."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from rescind_cli.checkup import findings
from rescind_cli.checkup.findings import Finding
from rescind_cli.settings import Surroundings

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_KEY_DIGITS = 64


def check(here: Surroundings) -> Iterator[Finding]:
    """Look at the directory, and at each file that a setting names."""
    yield from _directory(here.directory)
    for part, variable in (
        ("admin token file", "RESCIND_ADMIN_TOKEN_FILE"),
        ("edge key file", "RESCIND_EDGE_KEY_FILE"),
    ):
        if named := here.find(variable):
            content = _secret(part, Path(named), variable)
            yield content if isinstance(content, Finding) else _judge(part, Path(named), content)
        else:
            yield findings.skipped(part, f"{variable} is not set here")


def _directory(directory: Path) -> Iterator[Finding]:
    if not directory.is_dir():
        yield findings.skipped(
            "data directory", f"{directory} does not exist: `rescind up` never ran here"
        )
        return
    yield _private("data directory", directory, wanted="0700") or findings.ok(
        "data directory", str(directory)
    )
    env = directory / "env"
    if not env.is_file():
        yield findings.skipped("settings file", f"there is no {env}")
        return
    yield _private("settings file", env, wanted="0600") or findings.ok("settings file", str(env))


def _secret(part: str, path: Path, variable: str) -> str | Finding:
    """Read a file of secrets, unless something is wrong with it."""
    try:
        content = path.read_text(encoding="ascii")
    except UnicodeDecodeError:
        return findings.failed(part, f"{path} is not text", f"Correct {variable}.")
    except OSError as error:
        return findings.failed(
            part, f"{path} cannot be read: {error.strerror}", f"Correct {variable}, or its rights."
        )
    return _private(part, path, wanted="0600") or content


def _judge(part: str, path: Path, content: str) -> Finding:
    words = content.split()
    if part == "admin token file":
        if len(words) == 1:
            return findings.ok(part, str(path))
        return findings.failed(
            part, f"{path} does not hold one token", "Make another: rescind recover admin"
        )
    if words and all(map(_is_key, words)):
        return findings.ok(part, f"{path}, {len(words)} {'key' if len(words) == 1 else 'keys'}")
    return findings.failed(
        part,
        f"{path} does not hold 64 hex digits on each line",
        "Copy it from the authority's host; `rescind migrate` makes the first one there.",
    )


def _is_key(word: str) -> bool:
    return len(word) == _KEY_DIGITS and set(word.lower()) <= set("0123456789abcdef")


def _private(part: str, path: Path, *, wanted: str) -> Finding | None:
    """Say what is wrong with a path's rights, or nothing."""
    facts = path.stat()
    mode = stat.S_IMODE(facts.st_mode)
    if mode & _OTHERS:
        return findings.failed(
            part,
            f"{path} has mode {mode:04o}: others than its owner may use it",
            f"chmod {wanted} {path}"
            + ("; then replace the secrets in it." if mode & (stat.S_IRGRP | stat.S_IROTH) else ""),
        )
    if facts.st_uid != os.geteuid() and os.geteuid() != 0:
        return findings.warning(
            part, f"{path} belongs to another user", "chown it, or run as them."
        )
    return None
