"""The code on a framework's page is that of its example, which the matrix runs."""

import re

import pytest
from tests.support.documents import DOCS, ROOT, anchors, links
from tests.support.frameworks import EXAMPLES, FRAMEWORKS

PAGES = DOCS / "integrations"
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_EXAMPLE = re.compile(r"`(deploy/examples/[\w/-]+\.py)`")


NAMES = sorted({each.directory.name.partition("-")[0] for each in FRAMEWORKS})


@pytest.mark.parametrize("name", NAMES)
def test_every_line_of_a_page_is_in_an_example_that_it_names(name: str) -> None:
    page = PAGES / f"{name}.md"
    text = page.read_text(encoding="utf-8")
    named = [ROOT / each for each in _EXAMPLE.findall(text)]
    assert EXAMPLES / name / "app.py" in named
    known = {line.strip() for path in named for line in path.read_text().splitlines()}
    blocks = _BLOCK.findall(text)
    assert blocks
    shown = [line.strip() for block in blocks for line in block.splitlines() if line.strip()]
    assert [line for line in shown if line not in known] == []


def test_every_example_is_in_the_matrix_and_has_a_command_that_its_page_shows() -> None:
    for framework in FRAMEWORKS:
        assert (framework.directory / "app.py").is_file()
        if framework.folder:
            continue  # another server for the same example
        page = (PAGES / f"{framework.name.partition('-')[0]}.md").read_text(encoding="utf-8")
        program, application = framework.command[0], framework.command[-1]
        assert re.search(rf"`(?:python -m )?{program} .*{application}`", page), framework.name


def test_the_pages_refer_to_what_all_integrations_share() -> None:
    shared = "README.md#what-all-of-them-share"
    assert "what-all-of-them-share" in anchors(PAGES / "README.md")
    for name in NAMES:
        assert shared in links(PAGES / f"{name}.md"), name
