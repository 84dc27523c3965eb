"""The examples of docs/admin-client.md, run as they stand against a system of `rescind up`."""

import doctest
import os
import re
from pathlib import Path

import pytest
from tests.support.documents import DOCS

PAGE = DOCS / "admin-client.md"
_BLOCK = re.compile(r"^```pycon\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(autouse=True)
def environment(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the data directory of the running system, and no other setting."""
    for variable in [name for name in os.environ if name.startswith("RESCIND_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("RESCIND_DATA", str(data))
    monkeypatch.setenv("RESCIND_TOKEN", "")  # the page sets it: it is restored afterwards


def test_every_example_of_the_page_answers_as_it_shows() -> None:
    blocks = _BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(blocks) > 5
    examples = doctest.DocTestParser().get_doctest(
        "\n".join(blocks), {}, PAGE.name, str(PAGE), lineno=0
    )
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    said: list[str] = []
    runner.run(examples, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


def test_every_block_of_python_on_the_page_is_one_that_is_run() -> None:
    assert set(re.findall(r"^```(\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)) == {
        "sh",
        "pycon",
    }
