"""The code on a queue's page is that of its examples, which the tests of the queues run."""

import re

import pytest
from tests.support.documents import DOCS, ROOT

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_EXAMPLE = re.compile(r"`(deploy/examples/[\w/-]+\.py)`")


@pytest.mark.parametrize("name", ["celery", "arq"])
def test_every_line_of_a_page_is_in_an_example_that_it_names(name: str) -> None:
    text = (DOCS / "integrations" / f"{name}.md").read_text(encoding="utf-8")
    named = [ROOT / each for each in _EXAMPLE.findall(text)]
    assert {path.name for path in named} >= {"enqueue.py"}
    known = {line.strip() for path in named for line in path.read_text().splitlines()}
    blocks = _BLOCK.findall(text)
    assert len(blocks) == 2
    shown = [line.strip() for block in blocks for line in block.splitlines() if line.strip()]
    assert [line for line in shown if line not in known] == []
