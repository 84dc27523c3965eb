"""What people see is safe for a terminal, and says times as people do."""

import re
import sys

import pytest
from rich.cells import cell_len

from rescind_cli.output import terminal

NOON_US = 1_795_000_000_000_000


def test_foreign_text_cannot_move_the_cursor() -> None:
    assert terminal.shown("a\x1b[2Jb\r\n\u202ec") == "a\\x1b[2Jb\\x0d\\x0a\\x202ec"
    assert terminal.shown("Grüße 你好") == "Grüße 你好"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s ago"),
        (59.9, "59 s ago"),
        (61, "1 min 1 s ago"),
        (3599.9, "59 min ago"),
        (12_000, "3 h 20 min ago"),
        (90_000, "1 d 1 h ago"),
        (-3600, "in 1 h"),
    ],
)
def test_times_are_shown_relative_to_now_in_words(seconds: float, expected: str) -> None:
    then = terminal.timestamp(NOON_US - round(seconds * 1e6))
    assert terminal.ago(then, now_us=NOON_US) == expected


def test_a_table_in_a_pipe_is_plain_and_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.table(("id", "state"), [("a", "active"), ("long-one", "revoked")], empty="none")
    assert capsys.readouterr().out == "ID        STATE\na         active\nlong-one  revoked\n"


def test_an_empty_table_is_reported_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.table(("id",), [], empty="There are none.")
    assert capsys.readouterr() == ("", "There are none.\n")


ROW = {
    "id": "tok_01m8hk6tbcn3wjx3sjtebf5hy2",
    "state": "suspended",
    "subject": "agent:orchestrator/search-1",
    "kind": "agent",
    "scopes": "tools:call:search " * 8,
    "issued": "3 h 20 min ago",
    "ends": "in 40 min",
}


@pytest.mark.parametrize("columns", [40, 80, 100, 120, 300])
def test_on_a_narrow_terminal_only_columns_that_may_be_cut_are_cut(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    rows = [list(ROW.values()), ["tok_2", "active", "a", "agent", "", "1 s ago", "in 1 h"]]
    terminal.table(list(ROW), rows, empty="", cut=("scopes",))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(len, shown.splitlines())) <= columns
    words = re.sub(r"\s+", " ", shown)
    for name, cell in ROW.items():
        assert name in words
        assert cell in shown or name == "scopes"
    assert "tools:call:search tools:" in shown
    assert len(shown.splitlines()) <= (9 if columns >= 80 else 18)


def test_a_cell_of_wide_characters_is_cut_by_its_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    terminal.table(("id", "reason"), [("a", "你好" * 40)], empty="", cut=("reason",))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(cell_len, shown.splitlines())) <= 40
    assert "…" in shown


def test_the_last_line_states_how_many_entries_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal.rest(50, "3,012")
    assert capsys.readouterr().out == "showing  50 of 3,012; --limit 0 for all\n"
