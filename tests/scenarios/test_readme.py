"""The README is short, and what it shows works."""

import re
from pathlib import Path

import pytest
from tests.support.transcripts import Step, Terminal, terminal

from rescind.integrations.asgi import RescindMiddleware

README = Path(__file__).parents[2] / "README.md"
MAX_WORDS, MAX_LINES = 700, 120


def blocks(kind: str) -> list[str]:
    """Return the bodies of the README's blocks of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)


def run(opened: Terminal, command: str) -> str:
    """Run a command as a page does; one that only reads is repeated until it can answer."""
    return opened.run(Step(command, "", 0, 0))


def test_the_readme_is_short() -> None:
    text = README.read_text()
    prose = re.sub(r"^```.*?^```$|\]\([^)]*\)", "", text, flags=re.DOTALL | re.MULTILINE)
    assert len(re.findall(r"\S*\w\S*", prose)) <= MAX_WORDS
    assert len(text.splitlines()) <= MAX_LINES


@pytest.mark.timeout(300)
def test_the_four_commands_of_the_readme_stop_an_agent_and_its_helper() -> None:
    _, stop_an_agent = blocks("sh")
    commands = [line.partition("  #")[0].rstrip() for line in stop_an_agent.splitlines()]
    assert [command.split()[1] for command in commands] == ["issue", "delegate", "revoke", "check"]
    with terminal() as opened:
        opened.run(Step("rescind up", "", 0, 0, background=True))
        for command in commands[:2]:
            run(opened, command)
        assert "accepted" in run(opened, "rescind check < child")
        assert "enforced" in run(opened, commands[2])
        assert run(opened, commands[3]).split() == ["denied", "revoked"]


def test_the_three_lines_of_the_readme_protect_an_application() -> None:
    (lines,) = blocks("python")
    names = {"app": None}
    exec(lines, names)  # noqa: S102 - our own README
    assert isinstance(names["app"], RescindMiddleware)


def test_the_picture_in_the_readme_shows_no_call_accepted_after_the_acknowledgement() -> None:
    (picture,) = re.findall(r"\]\((docs/pictures/[^)]+)\)", README.read_text())
    text = (README.parent / picture).read_text()
    assert ", of which 0 accepted." in text
    assert "prefers-color-scheme: dark" in text
