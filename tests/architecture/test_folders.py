"""Each top-level folder has one page that says where to start, and no folder is too large."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_LINES = 70
MAX_MODULES = 20
# The layout of style.md: what is not here does not belong at the top.
FOLDERS = {"services", "shared", "tests", "deploy", "docs"}
FILES = {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"}
# A build makes these, and git ignores them.
MADE = {"dist", "build"}


def present() -> list[Path]:
    return [path for path in ROOT.iterdir() if path.name[0] != "." and path.name not in MADE]


def test_the_top_level_holds_nothing_unexpected() -> None:
    assert {path.name for path in present()} <= FOLDERS | FILES


@pytest.mark.parametrize(
    "folder", [path for path in present() if path.is_dir()], ids=lambda p: p.name
)
def test_a_top_level_folder_has_a_readme_of_one_page(folder: Path) -> None:
    readme = folder / "README.md"
    assert readme.is_file(), f"{folder.name} needs a README.md"
    assert 0 < len(readme.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_a_folder_of_a_package_holds_few_modules() -> None:
    """A reader sees at once what is in it. `__init__` describes the folder, and does not count."""
    modules = [
        path.parent
        for root in ("services", "shared")
        for path in (ROOT / root).rglob("*.py")
        if path.name != "__init__.py"
    ]
    counts = {str(folder.relative_to(ROOT)): modules.count(folder) for folder in set(modules)}
    assert len(counts) > 30
    assert {folder: count for folder, count in counts.items() if count > MAX_MODULES} == {}
