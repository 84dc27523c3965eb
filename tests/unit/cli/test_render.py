"""What people see is safe for a terminal, and says times as people do."""

import pytest

from rescind_cli import render

NOON_US = 1_795_000_000_000_000


def test_foreign_text_cannot_move_the_cursor() -> None:
    assert render.shown("a\x1b[2Jb\r\n\u202ec") == "a\\x1b[2Jb\\x0d\\x0a\\x202ec"
    assert render.shown("Grüße 你好") == "Grüße 你好"


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
def test_times_are_said_as_people_say_them(seconds: float, expected: str) -> None:
    then = render.timestamp(NOON_US - round(seconds * 1e6))
    assert render.ago(then, now_us=NOON_US) == expected


def test_a_table_in_a_pipe_is_plain_and_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    render.table(("id", "state"), [("a", "active"), ("long-one", "revoked")], empty="none")
    assert capsys.readouterr().out == "ID        STATE\na         active\nlong-one  revoked\n"


def test_an_empty_table_says_so_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    render.table(("id",), [], empty="There are none.")
    assert capsys.readouterr() == ("", "There are none.\n")
