"""The documents of the repository, and what they refer to."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
DOCS = ROOT / "docs"
HISTORY = ROOT / "CHANGELOG.md"

FOLDERS = ("services", "shared", "tests", "deploy", "docs", ".github", ".ci")
"""The folders of the repository, beside the files at its top."""

_FENCE = re.compile(r"^ *(```|~~~).*?^ *\1[^\n]*$", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^(#{1,6}) +(.+?) *$", re.MULTILINE)
_LABEL = re.compile(r"\[([^\]]*)\]\([^)]*\)")


@cache
def pages() -> tuple[Path, ...]:
    """Return every Markdown file of the repository, without those of installed packages."""
    inside = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))
    own = (path for path in inside if "node_modules" not in path.parts)
    return tuple(sorted((*ROOT.glob("*.md"), *own)))


@cache
def prose(page: Path) -> str:
    """Return the text of a page without its blocks of code."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


@cache
def spans(page: Path) -> tuple[str, ...]:
    """Return the code spans inside a page's sentences."""
    return tuple(_SPAN.findall(prose(page)))


def links(page: Path) -> tuple[str, ...]:
    """Return the targets of a page's links."""
    return tuple(_LINK.findall(_SPAN.sub("", prose(page))))


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    found: dict[str, int] = {}
    names: set[str] = set()
    for _, heading in _HEADING.findall(prose(page)):
        text = _LABEL.sub(r"\1", heading).replace("`", "").lower()
        name = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if name in found else name)
        found[name] = found.get(name, 0) + 1
    return frozenset(names)


def table(page: Path, *, headed: str) -> list[list[str]]:
    """Return the rows of the first table whose first column has this head."""
    lines = iter(prose(page).splitlines())
    for line in lines:
        if line.startswith(f"| {headed} |"):
            next(lines)
            return list(_rows(lines))
    raise AssertionError(f"{page.name} has no table headed {headed!r}")


def tables(page: Path, *, headed: str) -> list[list[str]]:
    """Return the rows of all tables whose first column has this head."""
    lines = iter(prose(page).splitlines())
    return [
        row
        for line in lines
        if line.startswith(f"| {headed} |")
        for row in (list(_rows(lines)) if next(lines) else [])
    ]


def _rows(lines: Iterator[str]) -> Iterator[list[str]]:
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
