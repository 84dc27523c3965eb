"""Checks of files: the data directory, its settings, and the files that contain secrets."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from rescind.core import token_format
from rescind.errors import MalformedTokenError
from rescind_cli.doctor import findings
from rescind_cli.doctor.findings import Finding
from rescind_cli.settings import LocalSettings

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_KEY_DIGITS = 64
_BOTH = 2


def check(local: LocalSettings) -> Iterator[Finding]:
    """Check the directory, and each file that a setting names."""
    yield from _check_directory(local.directory)
    read: dict[str, str] = {}
    for part, variable, usual in (
        ("admin token file", "RESCIND_ADMIN_TOKEN_FILE", "admin-token"),
        ("edge key file", "RESCIND_EDGE_KEY_FILE", "edge-key"),
    ):
        named, kept = local.find(variable), local.directory / usual
        if named is None and not kept.is_file():
            yield findings.skipped(part, f"{variable} is not set here, and {kept} does not exist")
            continue
        path = Path(named or kept)
        content = _read_secret(part, path, variable)
        if isinstance(content, str):
            read[part] = content
            content = _content_finding(part, path, content)
        yield content
    if len(read) == _BOTH:
        yield from _check_edge_key(*read.values())
    yield _check_root_key(local)


def _check_root_key(local: LocalSettings) -> Finding:
    """Check that a theft of the keyring does not include the root key."""
    part = "root key file"
    keyring = local.path("RESCIND_KEYRING_FILE") or local.directory / "keyring"
    path = local.path("RESCIND_ROOT_KEY_FILE") or local.directory / "root-key"
    if not keyring.is_file():
        return findings.skipped(part, f"this is not an authority's host: {keyring} does not exist")
    if not path.is_file():
        return findings.ok(part, f"it is kept elsewhere: {path} does not exist")
    if wrong := _access_problem(part, path, wanted="0600"):
        return wrong
    if path.resolve().parent != keyring.resolve().parent:
        return findings.ok(part, str(path))
    if (local.directory / "env").is_file():
        return findings.ok(part, f"{path}, beside the keyring, as `rescind up` stores it")
    return findings.warning(
        part,
        f"{path} is beside the keyring: a copy of the folder is enough to create trusted keys",
        "Move it out of the folder and its backups, and set RESCIND_ROOT_KEY_FILE for "
        "`rescind keys`.",
    )


def _check_edge_key(admin_token: str, edge_keys: str) -> Iterator[Finding]:
    """Check that one of the edge keys here tagged the admin token."""
    words = edge_keys.split()
    keys = [bytes.fromhex(word) for word in words if _is_key(word)]
    text = admin_token.strip()
    prefix = text.partition("_")[0]
    try:
        token = token_format.parse(text, prefix=prefix)
    except MalformedTokenError:
        return  # the lines above report it
    if keys and not token_format.genuine(token, keys):
        yield findings.failed(
            "edge key",
            "the admin token here was tagged with another edge key: an authority with this file "
            "does not know the tokens from before",
            "Restore the edge key from the backup, or copy it from another authority's host.",
        )


def _check_directory(directory: Path) -> Iterator[Finding]:
    if not directory.is_dir():
        yield findings.skipped(
            "data directory", f"{directory} does not exist: `rescind up` has not run here"
        )
        return
    yield _directory_finding(directory)
    env = directory / "env"
    if not env.is_file():
        yield findings.skipped("settings file", f"{env} does not exist")
        return
    yield _access_problem("settings file", env, wanted="0600") or findings.ok(
        "settings file", str(env)
    )


def _directory_finding(directory: Path) -> Finding:
    """Check the directory itself. The files in it are 0600, and the folders 0700."""
    part, mode = "data directory", stat.S_IMODE(directory.stat().st_mode)
    if mode & _OTHERS and not mode & _OTHERS_WRITE:
        return findings.warning(
            part,
            f"{directory} has mode {mode:04o}: other users can list the files in it",
            f"chmod 0700 {directory}",
        )
    return _access_problem(part, directory, wanted="0700") or findings.ok(part, str(directory))


def _read_secret(part: str, path: Path, variable: str) -> str | Finding:
    """Return the content of a file of secrets, or a finding if something is wrong with it."""
    try:
        content = path.read_text(encoding="ascii")
    except UnicodeDecodeError:
        return findings.failed(part, f"{path} is not text", f"Correct {variable}.")
    except OSError as error:
        return findings.failed(
            part,
            f"{path} cannot be read: {error.strerror}",
            f"Correct {variable}, or the mode of the file.",
        )
    return _access_problem(part, path, wanted="0600") or content


def _content_finding(part: str, path: Path, content: str) -> Finding:
    words = content.split()
    if part == "admin token file":
        if len(words) == 1:
            return findings.ok(part, str(path))
        return findings.failed(
            part, f"{path} does not contain one token", "Create another: rescind recover admin"
        )
    # The time at which the key was made, in seconds, follows the key.
    keys = [line.split()[0] for line in content.splitlines() if line.strip()]
    if keys and all(map(_is_key, keys)):
        return findings.ok(part, f"{path}, {len(keys)} {'key' if len(keys) == 1 else 'keys'}")
    return findings.failed(
        part,
        f"{path} does not contain 64 hex digits on each line",
        "Copy it from the authority's host; `rescind migrate` creates the first one there.",
    )


def _is_key(word: str) -> bool:
    return len(word) == _KEY_DIGITS and set(word.lower()) <= set("0123456789abcdef")


def _access_problem(part: str, path: Path, *, wanted: str) -> Finding | None:
    """Return a finding if a path's owner or mode is wrong."""
    facts = path.stat()
    mode = stat.S_IMODE(facts.st_mode)
    if mode & _OTHERS:
        return findings.failed(
            part,
            f"{path} has mode {mode:04o}: users other than its owner can access it",
            f"chmod {wanted} {path}"
            + ("; then replace the secrets in it." if mode & (stat.S_IRGRP | stat.S_IROTH) else ""),
        )
    if facts.st_uid != os.geteuid() and os.geteuid() != 0:
        return findings.warning(
            part,
            f"{path} belongs to another user",
            "Change its owner with chown, or run as that user.",
        )
    return None
