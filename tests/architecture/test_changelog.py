"""CHANGELOG.md keeps the form of Keep a Changelog."""

import re
import tomllib
from datetime import date

from tests.support.documents import HISTORY, ROOT

SECTIONS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+) - (\d{4}-\d\d-\d\d)")
_MAX_LINES = 3


def parts(text: str, mark: str) -> list[tuple[str, str]]:
    """Return the title and the body of each section of one level."""
    _, *found = re.split(rf"^{mark} (.+)$", text, flags=re.MULTILINE)
    return list(zip(found[::2], found[1::2], strict=True))


def releases() -> list[tuple[str, str]]:
    return parts(HISTORY.read_text(encoding="utf-8"), "##")


def entries() -> list[str]:
    return re.findall(r"^- .*(?:\n  .*)*", HISTORY.read_text(encoding="utf-8"), re.MULTILINE)


def test_unreleased_changes_come_first() -> None:
    assert releases()[0][0] == "Unreleased"


def test_each_release_has_a_version_and_a_date_and_the_newest_comes_first() -> None:
    dated = [_VERSION.fullmatch(title) for title, _ in releases()[1:]]
    assert all(dated)
    found = [(tuple(map(int, each.groups()[:3])), each[4]) for each in dated if each]
    assert found == sorted(found, reverse=True)
    for _, day in found:
        date.fromisoformat(day)


def test_the_version_of_the_project_is_released_or_to_come() -> None:
    """A release takes its entries out of "Unreleased" in the commit that sets the version."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    titles = [title.partition(" ")[0] for title, _ in releases()]
    assert version in titles or re.search(rf"\b{re.escape(version)}\b", releases()[0][1])


def test_each_release_has_the_sections_in_their_order_and_none_is_empty() -> None:
    for title, body in releases():
        named = [name for name, _ in parts(body, "###")]
        assert named == [name for name in SECTIONS if name in named], title
        for name, inside in parts(body, "###"):
            assert re.match(r"\n\n- ", inside), f"{title}, {name}: begin each entry with `- `"


def test_each_entry_stands_in_a_section_and_has_few_lines() -> None:
    in_sections = [
        entry
        for _, release in releases()
        for _, body in parts(release, "###")
        for entry in re.findall(r"^- .*(?:\n  .*)*", body, re.MULTILINE)
    ]
    assert in_sections == entries()
    assert [each for each in entries() if each.count("\n") >= _MAX_LINES] == []
    assert [each for each in entries() if not each.endswith(".")] == []


def test_no_entry_appears_twice() -> None:
    assert len(set(entries())) == len(entries())
