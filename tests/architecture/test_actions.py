"""Every `action` that a process logs stands in the table for operators, and the other way round."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOGGED = re.compile(r'\baction="([a-z._]+)"')
CELL = re.compile(r"`([a-z._]+)`")


def test_the_table_of_actions_is_complete() -> None:
    sources = [
        path
        for folder in ("shared/rescind_runtime", "services")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "logs.py"
    ]
    logged = {
        action for path in sources for action in LOGGED.findall(path.read_text(encoding="utf-8"))
    }
    page = (ROOT / "deploy" / "log.md").read_text(encoding="utf-8")
    _, _, table = page.partition("| action |")
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {action for row in rows for action in CELL.findall(row)} == logged
