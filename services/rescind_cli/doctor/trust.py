"""Checks of trust files: the configured one, and those that sidecars keep beside their sockets."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rescind.errors import RescindError
from rescind_cli.doctor import findings, sidecars
from rescind_cli.doctor.findings import Finding
from rescind_cli.output import terminal
from rescind_cli.settings import LocalSettings
from rescind_runtime import clock

if TYPE_CHECKING:
    from rescind_runtime.crypto.trust import Trust

_PART = "trust file"
_COPY = "Copy the authority's trust file here (`rescind keys show` there names its serial)."


def check(local: LocalSettings) -> Iterator[Finding]:
    """Check the trust file, and compare it with the newest statements that sidecars received."""
    named = local.find("RESCIND_TRUST_FILE")
    path = Path(named) if named else local.directory / "trust"
    if named is None and not path.exists():
        yield findings.skipped(
            _PART, f"RESCIND_TRUST_FILE is not set here, and {path} does not exist"
        )
        return
    try:
        from rescind_runtime.crypto.trust import Trust  # noqa: PLC0415 - libsodium is not in each extra
    except ImportError:
        yield findings.skipped(_PART, "it cannot be read without `rescind[sidecar]`")
        return
    try:
        trust = Trust.read(path)
    except RescindError as error:
        yield findings.failed(_PART, str(error), _COPY)
        return
    yield _statement_finding(path, trust)
    for socket in sidecars.sockets(local):
        yield from _check_kept_statement(socket.with_suffix(".kept-trust"), path, trust)


def _statement_finding(path: Path, trust: "Trust") -> Finding:
    problem = trust.problem(clock.wall_us())
    if problem is not None:
        return findings.failed(_PART, f"{path}: {problem}", f"Correct the clock, or: {_COPY}")
    if trust.not_after_us is None:
        return findings.warning(
            _PART,
            f"{path}, serial {trust.serial}, has no end: the authority was not upgraded, or "
            "its root key is kept elsewhere",
            "On the authority's host, with the root key: rescind keys renew. Then copy it again.",
        )
    until = terminal.timestamp(trust.not_after_us)
    return findings.ok(_PART, f"{path}, serial {trust.serial}, valid until {until}")


def _check_kept_statement(kept: Path, path: Path, trust: "Trust") -> Iterator[Finding]:
    part = f"kept statement of {kept.stem}"
    try:
        document = json.loads(kept.read_text(encoding="ascii"))
        roots = [bytes.fromhex(root) for root in document["roots"]]
        statement = bytes.fromhex(document["statement"])
        newest = type(trust)(roots[0], statement, successors=tuple(roots[1:]))
    except (FileNotFoundError, PermissionError):
        return  # none is kept, or it is another user's
    except (OSError, ValueError, KeyError, TypeError, IndexError, RescindError) as error:
        yield findings.failed(
            part,
            f"{kept} cannot be used: {error}",
            f"The sidecar will not start again. {_COPY} Then delete {kept}.",
        )
        return
    if trust.root in newest.roots and (trust.root != newest.root or trust.serial < newest.serial):
        yield findings.warning(
            part,
            f"{path} has serial {trust.serial}, but the sidecar has received {newest.serial}",
            f"A machine that starts with only that file trusts old keys. {_COPY}",
        )
