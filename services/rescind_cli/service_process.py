"""Run the services: the command line starts them as processes, and never imports them."""

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
    """Replace this process by `python -m module`, which then receives the signals itself."""
    command = _command(module)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, command, _environment(data))  # noqa: S606 - no shell is meant


def run_verb(module: str, verb: str, *arguments: str, data: Path | None) -> dict[str, Any]:
    """Run one verb of a service, and return the JSON that it prints.

    If the service fails, exit with its code. It prints the error on stderr, which it shares with
    this process.
    """
    command = [*_command(module), verb, *arguments]
    try:
        ended = subprocess.run(  # noqa: S603 - our own program and arguments
            command,
            # The command reports in its own words what the service would log.
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


def settings_reports(modules: Iterable[str], *, data: Path | None) -> dict[str, dict[str, Any]]:
    """Return the reports of services on their settings; none of one that is not installed or fails.

    The services run in parallel: most of their time is spent on imports.
    """
    processes = {
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
    for module, process in processes.items():
        output, _ = process.communicate(timeout=_DEADLINE_S)
        with contextlib.suppress(ValueError):
            found[module] = json.loads(output)
    return found


def _command(module: str) -> list[str]:
    if util.find_spec(module) is None:
        raise MissingExtraError("all", module)
    return [sys.executable, "-m", module]


def _environment(data: Path | None) -> dict[str, str]:
    named = {"RESCIND_DATA": str(data.absolute())} if data is not None else {}
    return settings.environment() | named
