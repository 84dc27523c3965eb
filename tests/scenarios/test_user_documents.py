"""Every command of the pages for users does what the page shows, on a system of its own."""

from pathlib import Path

import pytest
from tests.support import transcripts
from tests.support.transcripts import DifferentError, Step, Terminal, normal, steps


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", transcripts.PAGES, ids=lambda page: page.stem)
def test_a_page_shows_what_its_commands_print(page: Path) -> None:
    transcripts.check(page)


@pytest.mark.parametrize("page", transcripts.PAGES[:2], ids=lambda page: page.stem)
def test_a_page_for_newcomers_starts_a_system_and_revokes_a_token(page: Path) -> None:
    commands = [step.command for step in steps(page.read_text(encoding="utf-8"))]
    assert len(commands) > 10
    for begun in ("rescind up", "rescind issue", "rescind check"):
        assert any(command.startswith(begun) for command in commands)
    assert any("--wait" in command for command in commands)


def page_with(tmp_path: Path, text: str) -> Path:
    page = tmp_path / "page.md"
    page.write_text(text)
    return page


def test_an_output_that_is_not_shown_is_found(tmp_path: Path) -> None:
    page = page_with(tmp_path, "```console\n$ echo one\none\n$ echo two\nthree\n```\n")
    with pytest.raises(DifferentError, match="echo two"):
        transcripts.check(page)
    transcripts.rewrite(page)
    assert page.read_text() == "```console\n$ echo one\none\n$ echo two\ntwo\n```\n"
    transcripts.check(page)


def test_a_wrong_verdict_is_not_retried(tmp_path: Path) -> None:
    """A second answer would hide a token that was accepted after its receipt."""
    terminal = Terminal(tmp_path)
    wrong = Step("rescind check < token", "denied  revoked\n", 0, 0)
    assert not terminal._may_come(wrong, "accepted  agent:bot")
    assert terminal._may_come(wrong, "denied  unavailable")
    assert terminal._may_come(Step("rescind fleet --json", "live\n", 0, 0), "silent")
    assert not terminal._may_come(Step("rescind lift ID", "lifted\n", 0, 0), "refused")


def test_commands_share_exports_and_the_last_status_and_know_each_others_ids(
    tmp_path: Path,
) -> None:
    first, second = "tok_01m8jcwbv7de0xsc72jtcfa5k3", "tok_01m8jcw0wwey5y7akvc0m4q5pf"
    page = page_with(
        tmp_path,
        f"```console\n$ export MADE={second}\n$ echo $MADE\n{first}\n$ test {first} = $MADE\n"
        "$ echo $?\n0\n$ false\n$ echo $?\n1\n```\n",
    )
    transcripts.check(page)


@pytest.mark.parametrize(
    "block",
    ["```sh\nls\n```\n", "```console\nls\n```\n", "```python\nprint()\n```\n"],
    ids=["sh", "no prompt", "no file"],
)
def test_a_block_that_cannot_be_run_is_an_error(block: str) -> None:
    with pytest.raises(ValueError, match=r"show|begin"):
        list(steps(block))


def test_only_what_differs_between_runs_is_ignored() -> None:
    assert normal("service-1  f27dea85232d  acknowledged  20.3 ms") == normal(
        "service-1   a62aa9d50fe9  acknowledged  9 ms"
    )
    assert normal("tokens  2") != normal("tokens  3")
    assert normal("seq 1") != normal("seq 2")
    assert normal("denied  revoked") != normal("denied  expired")
    assert normal("service-1  acknowledged") != normal("service-1  lapsed")
