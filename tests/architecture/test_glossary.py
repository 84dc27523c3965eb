"""Each term of the glossary has a definition, a standard term, and places where it appears."""

import re
from functools import cache
from itertools import chain
from pathlib import Path

import click
import pytest
from tests.support import documents
from tests.support.documents import DOCS, ROOT, TESTS

from rescind_authority.settings import AuthoritySettings
from rescind_cli.__main__ import rescind
from rescind_sidecar.settings import SidecarSettings

GLOSSARY = DOCS / "glossary.md"
TERMS = documents.tables(GLOSSARY, headed="term")
_PATH = re.compile(r"(?:services|shared|tests)/[\w./-]+")
_DOCUMENT = re.compile(r"\]\([\w./-]*\.md")
_COMMAND = re.compile(r"rescind( [a-z-]+)+")
_OPTION = re.compile(r"--[a-z-]+")
_SETTING = re.compile(r"RESCIND_([A-Z_]+)")
_SOURCES = {".py", ".sql"}
_LABELS = {"rescind possession": "what a possession proof is made from"}


@pytest.mark.parametrize("row", TERMS, ids=lambda row: row[0])
def test_each_term_has_a_definition_a_standard_term_and_a_module_or_a_page(row: list[str]) -> None:
    term, definition, standard, where = row
    assert term
    assert definition
    assert standard
    assert _PATH.search(where) or _DOCUMENT.search(where), where


def test_no_term_is_there_twice() -> None:
    terms = [row[0] for row in TERMS]
    assert len(terms) > 100
    assert len(set(terms)) == len(terms)


@pytest.mark.parametrize("row", TERMS, ids=lambda row: row[0])
def test_each_place_where_a_term_appears_is_there(row: list[str]) -> None:
    named = re.findall(r"`([^`]+)`", row[3])
    assert [each for each in named if not appears(each)] == []


@pytest.mark.parametrize("page", documents.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_document_names_is_there(page: Path) -> None:
    named = [
        span
        for span in documents.spans(page)
        if re.match(r"rescind [a-z]", span) and span not in _LABELS
    ]
    assert [each for each in named if not is_command(each)] == []


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("shared/rescind/core/ledger.py", True),
        ("shared/rescind/core/ledgers.py", False),
        ("RESCIND_TERM", True),
        ("RESCIND_TERMS", False),
        ("rescind keys rotate edge", True),
        ("rescind audit ls", False),
        ("rescind tokens list", False),
        ("--label", True),
        ("--labels", False),
        ("issued_before", True),
        ("issued_after_all", False),
    ],
)
def test_a_name_that_is_not_there_is_found_out(name: str, there: bool) -> None:
    assert appears(name) is there


def appears(name: str) -> bool:
    """Return True if a path, a setting, a command, an option or a name in the code exists."""
    if _PATH.fullmatch(name):
        return (ROOT / name).exists()
    if setting := _SETTING.fullmatch(name):
        return setting[1].lower() in settings() or name in sources()
    if _COMMAND.fullmatch(name):
        return is_command(name)
    if _OPTION.fullmatch(name):
        return name in options()
    return all(_in_code(part) for part in re.split(r"[…\s]+", name) if part)


def is_command(text: str) -> bool:
    """Return True if the command line has the command that a text begins with."""
    command: click.Command | None = rescind
    for word in text.split()[1:]:
        for name in word.split("|"):
            if not isinstance(command, click.Group) or not re.fullmatch(r"[a-z-]+", name):
                return command is not None
        command = _inside(command, word.split("|")) if isinstance(command, click.Group) else None
    return command is not None


def _inside(group: click.Group, names: list[str]) -> click.Command | None:
    """Return the last of the named commands of a group if each is there."""
    found = [group.get_command(click.Context(group), name) for name in names]
    return found[-1] if all(found) else None


@cache
def options() -> frozenset[str]:
    """Return every option of every command."""
    found: set[str] = set()
    left: list[click.Command] = [rescind]
    while left:
        command = left.pop()
        found |= set(chain.from_iterable(each.opts for each in command.params))
        if isinstance(command, click.Group):
            inside = (command.get_command(click.Context(command), name) for name in _names(command))
            left += [each for each in inside if each is not None]
    return frozenset(found)


def _names(group: click.Group) -> list[str]:
    return group.list_commands(click.Context(group))


@cache
def settings() -> frozenset[str]:
    return frozenset(AuthoritySettings.model_fields | SidecarSettings.model_fields)


@cache
def sources() -> str:
    """Return the code of services, the SDK and the support of tests."""
    folders = (ROOT / "services", ROOT / "shared", TESTS / "support")
    paths = (path for folder in folders for path in folder.rglob("*") if path.suffix in _SOURCES)
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(paths))


def _in_code(name: str) -> bool:
    """Return True if a name is in the code: as it is, as a header, or in its parts."""
    if name.startswith("X-"):
        return name.lower() in sources()
    return any(
        all(_word(part).search(sources()) for part in parts)
        for parts in ([name], re.split(r"[.:]", name))
    )


def _word(part: str) -> re.Pattern[str]:
    """Return a pattern for a name that does not go on before or after it."""
    return re.compile(
        rf"(?<!\w){re.escape(part)}(?!\w)" if part[-1:].isalnum() else re.escape(part)
    )
