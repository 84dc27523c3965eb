"""Run our services: the command line starts them as processes, it never imports them."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from importlib import util
from pathlib import Path
from typing import Any, NoReturn

import click

from rescind.client.problems import MissingExtraError
from rescind_cli import settings

_DEADLINE_S = 600  # the longest that a migration of a large table may take


def become(module: str, *, data: Path | None) -> NoReturn:
    """Replace this process by `python -m module`, which then gets our signals itself."""
    command = _command(module)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, command, _environment(data))  # noqa: S606 - no shell is meant


def ask(module: str, verb: str, *arguments: str, data: Path | None) -> dict[str, Any]:
    """Run one verb of a service, and return the JSON that it prints; end as it ends if it fails.

    It says on stderr, which it shares with us, what went wrong.
    """
    command = [*_command(module), verb, *arguments]
    try:
        ended = subprocess.run(  # noqa: S603 - our own program and arguments
            command,
            # What it logs, the command says in its own words.
            env={"RESCIND_LOG": "console:error"} | _environment(data),
            stdout=subprocess.PIPE,
            check=False,
            timeout=_DEADLINE_S,
        )
    except subprocess.TimeoutExpired:
        raise click.ClickException(f"{verb} took more than {_DEADLINE_S} s") from None
    if ended.returncode != 0:
        raise click.exceptions.Exit(ended.returncode)
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


def described(modules: Iterable[str], *, data: Path | None) -> dict[str, dict[str, Any]]:
    """Return what services say of their settings; nothing of one that is not installed, or fails.

    They are asked side by side: most of it is importing.
    """
    asked = {
        module: subprocess.Popen(  # noqa: S603 - our own program and arguments
            [sys.executable, "-m", f"{module}.settings"],
            env=_environment(data),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for module in modules
        if util.find_spec(module) is not None
    }
    found: dict[str, dict[str, Any]] = {}
    for module, each in asked.items():
        said, _ = each.communicate(timeout=_DEADLINE_S)
        with contextlib.suppress(ValueError):
            found[module] = json.loads(said)
    return found


def _command(module: str) -> list[str]:
    if util.find_spec(module) is None:
        raise MissingExtraError("all", module)
    return [sys.executable, "-m", module]


def _environment(data: Path | None) -> dict[str, str]:
    named = {"RESCIND_DATA": str(data.absolute())} if data is not None else {}
    return settings.environment() | named
