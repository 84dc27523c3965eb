"""Each SQL statement has a header that a reader can rely on."""

import re
from importlib.resources import files

import pytest

from rescind_authority.postgres import queries

NAMES = sorted(
    entry.name.removesuffix(".sql")
    for entry in files(queries).iterdir()
    if entry.name.endswith(".sql")
)


def header_and_statement(name: str) -> tuple[list[str], list[str]]:
    """Split the text of a query into the lines of its header, without dashes, and the rest."""
    lines = queries.read(name).splitlines()
    end = next(place for place, line in enumerate(lines) if not line.startswith("--"))
    return [line.removeprefix("--").strip() for line in lines[:end]], lines[end:]


@pytest.mark.parametrize("name", NAMES)
def test_a_header_has_one_line_for_each_parameter_in_order(name: str) -> None:
    header, statement = header_and_statement(name)
    described = [int(found[1]) for line in header if (found := re.match(r"\$(\d+) \w", line))]
    used = {int(number) for number in re.findall(r"\$(\d+)", "\n".join(statement))}
    assert described == list(range(1, len(used) + 1))
    assert set(described) == used


@pytest.mark.parametrize("name", NAMES)
def test_a_header_begins_with_a_verb_and_names_what_serves_the_statement(name: str) -> None:
    header, _ = header_and_statement(name)
    assert re.match(r"[A-Z][a-z]+s ", header[0])
    assert any(line.startswith("Served by: ") for line in header)


def test_every_query_was_found() -> None:
    assert len(NAMES) > 70
