"""`rescind doctor`: what is wrong here, and what to do."""

import contextlib
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import click

from rescind.errors import RescindError
from rescind_cli import render, settings
from rescind_cli.checkup import findings
from rescind_cli.checkup.findings import Finding, Level
from rescind_cli.failures import Exit
from rescind_cli.target import data_option, json_option

_LEVEL_WIDTH = 7
_PART_WIDTH = 28


@click.command()
@data_option
@json_option
def doctor(*, data: Path | None, as_json: bool) -> None:
    """Find out what is wrong with this installation, and what to do.

    Looks at whatever is configured here, by the environment or by the data directory, and changes
    nothing. Exits 0 when nothing failed, 1 when something did.
    """
    found: list[Finding] = []
    with _progress() as say:
        for each in _examine(data, say):
            found.append(each)
            if not as_json:
                _show(each)
    failures = findings.count(found, Level.FAILED)
    if as_json:
        checks = [
            {"part": each.part, "level": each.level, "says": each.says, "advice": each.advice}
            for each in found
        ]
        counts = {level.value: findings.count(found, level) for level in Level}
        render.as_json({"ok": failures == 0, "counts": counts, "checks": checks})
    else:
        _sum_up(found)
    if failures:
        raise click.exceptions.Exit(Exit.REFUSED)


def _examine(data: Path | None, say: Callable[[str], None]) -> Iterator[Finding]:
    """Look at one part after the other, the ledger's end before those who follow it."""
    # Imported here: each part brings what it asks with, and --help needs none of it.
    from rescind_cli.checkup import (  # noqa: PLC0415 - see above
        authority,
        files,
        machine,
        nats,
        postgres,
        redis,
        second_link,
        sidecars,
    )

    yield from machine.check()
    try:
        here = settings.surroundings(data)
    except RescindError as error:
        yield findings.failed("settings file", str(error), "Correct it; `rescind up` writes it.")
        return
    if not here.configured:
        yield findings.warning(
            "settings",
            f"nothing is configured here: no RESCIND_… is set, and {here.directory} has no env",
            "Start everything with `rescind up`, name its directory with --data, or set RESCIND_….",
        )
    yield from files.check(here)
    say("asking Postgres")
    yield from postgres.check(here)
    say("asking NATS")
    yield from nats.check(here)
    say("asking Redis")
    yield redis.check(here)
    say("asking the authority")
    report = authority.check(here, data)
    yield from report.found
    yield from second_link.check(here)
    say("asking the sidecars")
    yield from sidecars.check(here, report.fleet)


def _show(each: Finding) -> None:
    render.line(f"{each.level:<{_LEVEL_WIDTH}}", f"{each.part:<{_PART_WIDTH}}", each.says)
    if each.advice:
        render.line(" " * _LEVEL_WIDTH, " " * _PART_WIDTH, f"→ {each.advice}")


def _sum_up(found: list[Finding]) -> None:
    counted = {level: findings.count(found, level) for level in Level}
    parts = [f"{number} {level}" for level, number in counted.items() if number]
    bad = counted[Level.FAILED]
    state = "failed" if bad else "warning" if counted[Level.WARNING] else "ok"
    words = {"failed": "something is broken", "warning": "it works", "ok": "all is well"}
    render.line(f"{state:<{_LEVEL_WIDTH}}", words[state], ", ".join(parts))


@contextlib.contextmanager
def _progress() -> Generator[Callable[[str], None]]:
    """Show on a terminal what is being asked; say nothing when piped."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - a pipe need not pay for it

    with Console(stderr=True).status("looking") as status:
        yield status.update
