"""Lay out the pages of the site: the Markdown of the repository, and the reference.

python .ci/site/pages.py DIR
"""

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import reference

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "deploy", "services", "shared", "tests", ".github")
GUIDES = (
    "quick-start",
    "agent-went-rogue",
    "commands",
    "services",
    "admin-client",
    "glossary",
    "comparison",
)
PROOF = ("guarantee", "design", "security", "threat-model", "protocol", "versions")
REFERENCE: Mapping[str, Callable[[], str]] = {
    "command-line": reference.command_line,
    "http": reference.http,
    "python": reference.python,
    "settings": reference.settings,
}


def sources() -> Iterator[Path]:
    """Return the pages, and the files that they lead to, relative to the root."""
    inside = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))
    for path in (*ROOT.glob("*.md"), *inside, ROOT / "LICENSE"):
        yield path.relative_to(ROOT)


def lay_out(folder: Path) -> None:
    """Write every page into a folder, in the repository's own layout, so that links hold."""
    for path in sources():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / path).read_text(encoding="utf-8")
        # A diagram is shown as its text: what draws it would be loaded from elsewhere.
        target.write_text(text.replace("```mermaid\n", "```text\n"), encoding="utf-8")
    shutil.copytree(ROOT / "docs" / "pictures", folder / "docs" / "pictures")
    for name, write in REFERENCE.items():
        target = folder / "reference" / f"{name}.md"
        target.parent.mkdir(exist_ok=True)
        target.write_text(write(), encoding="utf-8")
    (folder / "index.md").write_text("\n".join(index(folder)), encoding="utf-8")


def index(folder: Path) -> Iterator[str]:
    """Return the first page: every other page is below it, once."""
    yield from (
        "# rescind",
        "",
        "Revoke a token once; every verifier denies it in milliseconds.",
        "",
    )
    chapters = {
        "Start": ["README", "docs/README", *(f"docs/{name}" for name in GUIDES)],
        "Integrate": _below(folder, "docs/integrations"),
        "Operate": _below(folder, "deploy"),
        "Reference": [
            *(f"reference/{name}" for name in REFERENCE),
            *_below(folder, "docs/reference"),
        ],
        "Proof": [f"docs/{name}" for name in PROOF] + _below(folder, "docs/decisions"),
        "Develop": [
            page
            for part in ("services", "shared", "tests", ".github")
            for page in _below(folder, part)
        ]
        + ["CHANGELOG"],
    }
    for caption, pages in chapters.items():
        yield from ("```{toctree}", f":caption: {caption}", ":maxdepth: 1", "", *pages, "```", "")


def _below(folder: Path, part: str) -> list[str]:
    pages = (path.relative_to(folder).with_suffix("") for path in (folder / part).rglob("*.md"))
    return sorted(map(str, pages), key=lambda page: (not page.endswith("README"), page))


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
