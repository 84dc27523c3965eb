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
from rescind_cli.settings import LocalSettings

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
        for each in _check_all(data, lambda step: terminal.show_step(f"{step} …")):
            found.append(each)
            if not as_json:
                terminal.erase_line()
                _show(each)
    finally:
        terminal.erase_line()
    failures = findings.count(found, Level.FAILED)
    if as_json:
        checks = [
            {
                "part": each.part,
                "level": each.level,
                "says": each.message,
                "advice": each.advice,
            }
            for each in found
        ]
        counts = {level.value: findings.count(found, level) for level in Level}
        terminal.as_json({"ok": failures == 0, "counts": counts, "checks": checks})
    else:
        _show_summary(found)
    if failures:
        raise click.exceptions.Exit(Exit.REFUSED)


def _check_all(data: Path | None, show_step: Callable[[str], None]) -> Iterator[Finding]:
    """Check the machine, the settings, and then what the settings name."""
    from rescind_cli.doctor import machine  # noqa: PLC0415 - as in _check_servers

    yield from machine.check()
    try:
        local = settings.load(data)
    except RescindError as error:
        yield findings.failed(
            "settings file", str(error), "Correct the file. `rescind up` writes it."
        )
        return
    if not local.configured:
        yield findings.failed(
            "settings",
            "nothing is configured here: no RESCIND_… is set, and there is no "
            f"{local.directory / 'env'}",
            "Start everything with `rescind up`, give its directory with --data, or set RESCIND_….",
        )
    yield from _check_servers(local, data, show_step)


def _check_servers(
    local: LocalSettings, data: Path | None, show_step: Callable[[str], None]
) -> Iterator[Finding]:
    """Check files and servers in order: the ledger's end before the sidecars that follow it."""
    # Imported here: each check imports its own driver, and --help needs none of them.
    from rescind_cli.doctor import (  # noqa: PLC0415 - see above
        authority,
        files,
        http_fallback,
        nats,
        postgres,
        redis,
        sidecars,
        trust,
        variables,
    )

    show_step("checking the settings")
    reports = variables.read_reports(data)
    yield from variables.check(local, reports)
    yield from files.check(local)
    show_step("checking Postgres")
    yield from postgres.check(local, steps=reports["authority"].get("migrations"))
    show_step("checking NATS")
    yield from nats.check(local)
    show_step("checking Redis")
    yield redis.check(local)
    show_step("checking the authority")
    report = authority.check(local, data)
    yield from report.found
    yield from http_fallback.check(local)
    show_step("checking the sidecars")
    yield from sidecars.check(local, report.fleet)
    yield from trust.check(local)


def _show(each: Finding) -> None:
    terminal.line(f"{each.level:<{_LEVEL_WIDTH}}", f"{each.part:<{_PART_WIDTH}}", each.message)
    if each.advice:
        terminal.line(" " * _LEVEL_WIDTH, " " * _PART_WIDTH, f"→ {each.advice}")


def _show_summary(found: list[Finding]) -> None:
    counted = {level: findings.count(found, level) for level in Level}
    parts = [f"{number} {level}" for level, number in counted.items() if number]
    failures = counted[Level.FAILED]
    state = "failed" if failures else "warning" if counted[Level.WARNING] else "ok"
    words = {
        "failed": "a part does not work",
        "warning": "all parts work",
        "ok": "no fault was found",
    }
    terminal.line(f"{state:<{_LEVEL_WIDTH}}", words[state], ", ".join(parts))
