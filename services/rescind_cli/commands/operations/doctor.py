"""`rescind doctor`: report what is wrong here, and what to do."""

from collections.abc import Callable, Iterator
from pathlib import Path

import click

from rescind.errors import RescindError
from rescind_cli import settings
from rescind_cli.doctor import findings
from rescind_cli.doctor.findings import Finding, Level
from rescind_cli.options.authority_options import data_option, json_option
from rescind_cli.output import terminal
from rescind_cli.output.exit_codes import Exit

_LEVEL_WIDTH = 7
_PART_WIDTH = 28


@click.command()
@data_option
@json_option
def doctor(*, data: Path | None, as_json: bool) -> None:
    """Report what is wrong with this installation, and what to do.

    Checks the parts that the environment or the data directory configures, and changes nothing.
    Exits 0 if no check failed, else 1.
    """
    found: list[Finding] = []
    try:
        for each in _examine(data, lambda words: terminal.tell(f"{words} …")):
            found.append(each)
            if not as_json:
                terminal.erase_line()
                _show(each)
    finally:
        terminal.erase_line()
    failures = findings.count(found, Level.FAILED)
    if as_json:
        checks = [
            {"part": each.part, "level": each.level, "says": each.says, "advice": each.advice}
            for each in found
        ]
        counts = {level.value: findings.count(found, level) for level in Level}
        terminal.as_json({"ok": failures == 0, "counts": counts, "checks": checks})
    else:
        _sum_up(found)
    if failures:
        raise click.exceptions.Exit(Exit.REFUSED)


def _examine(data: Path | None, say: Callable[[str], None]) -> Iterator[Finding]:
    """Check the parts in order: the ledger's end before the sidecars that follow it."""
    # Imported here: each check imports its own driver, and --help needs none of them.
    from rescind_cli.doctor import (  # noqa: PLC0415 - see above
        authority,
        files,
        http_fallback,
        machine,
        nats,
        postgres,
        redis,
        sidecars,
        trust,
        variables,
    )

    yield from machine.check()
    try:
        here = settings.surroundings(data)
    except RescindError as error:
        yield findings.failed("settings file", str(error), "Correct it; `rescind up` writes it.")
        return
    if not here.configured:
        yield findings.failed(
            "settings",
            f"nothing is configured here: no RESCIND_… is set, and {here.directory} has no env",
            "Start everything with `rescind up`, name its directory with --data, or set RESCIND_….",
        )
    say("looking at the settings")
    told = variables.described(data)
    yield from variables.check(here, told)
    yield from files.check(here)
    say("asking Postgres")
    yield from postgres.check(here, steps=told["authority"].get("migrations"))
    say("asking NATS")
    yield from nats.check(here)
    say("asking Redis")
    yield redis.check(here)
    say("asking the authority")
    report = authority.check(here, data)
    yield from report.found
    yield from http_fallback.check(here)
    say("asking the sidecars")
    yield from sidecars.check(here, report.fleet)
    yield from trust.check(here)


def _show(each: Finding) -> None:
    terminal.line(f"{each.level:<{_LEVEL_WIDTH}}", f"{each.part:<{_PART_WIDTH}}", each.says)
    if each.advice:
        terminal.line(" " * _LEVEL_WIDTH, " " * _PART_WIDTH, f"→ {each.advice}")


def _sum_up(found: list[Finding]) -> None:
    counted = {level: findings.count(found, level) for level in Level}
    parts = [f"{number} {level}" for level, number in counted.items() if number]
    bad = counted[Level.FAILED]
    state = "failed" if bad else "warning" if counted[Level.WARNING] else "ok"
    words = {"failed": "something is broken", "warning": "it works", "ok": "all is well"}
    terminal.line(f"{state:<{_LEVEL_WIDTH}}", words[state], ", ".join(parts))
