"""Checks of the settings: each variable that is set is known, and its value is valid."""

import difflib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from rescind_cli import service_process
from rescind_cli.doctor import findings
from rescind_cli.doctor.findings import Finding
from rescind_cli.settings import LocalSettings

_PREFIX = "RESCIND_"
_MODULES = {"authority": "rescind_authority", "sidecar": "rescind_sidecar"}
_CLI_VARIABLES = frozenset({"ADMIN_TOKEN", "ADMIN_TOKEN_FILE", "TOKEN", "URL", "SOCKET", "SERVICE"})

SettingsReport = Mapping[str, Any]
"""The report of a process on its settings; empty if it is not installed here."""


def read_reports(data: Path | None) -> Mapping[str, SettingsReport]:
    """Return, for each process, the variables that it reads and what is wrong with them here."""
    found = service_process.settings_reports(_MODULES.values(), data=data)
    return {name: found.get(module, {}) for name, module in _MODULES.items()}


def check(local: LocalSettings, reports: Mapping[str, SettingsReport]) -> Iterator[Finding]:
    """Report variables that no process reads, and values that a process would reject."""
    if not all(reports.values()):
        yield findings.skipped("settings", "the services are not installed here: not checked")
        return
    # Both processes read some variables: a problem of one variable is reported once.
    refused: dict[str, tuple[str, str]] = {}
    for name, report in reports.items():
        for variable, problem in report["problems"]:
            refused.setdefault(variable, (problem, name))
    for variable, (problem, name) in refused.items():
        advice = f"Correct it: `rescind {name}` would not start."
        yield findings.failed("settings", f"{variable}: {problem}", advice)
    known = _CLI_VARIABLES.union(*(report["variables"] for report in reports.values()))
    found = {name for source in local.sources for name in source if name.startswith(_PREFIX)}
    for variable in sorted(found):
        if variable.removeprefix(_PREFIX) not in known:
            message = f"{variable} is not a setting"
            yield findings.warning("settings", message, _advice(variable, known))


def _advice(variable: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(variable.removeprefix(_PREFIX), sorted(known), n=1)
    return f"Did you mean {_PREFIX}{near[0]}?" if near else "Unset it, or correct its name."
