"""The port Tables of the sidecar: a table in memory, and the file that verifiers map."""

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.tables import TablesInMemory

from rescind.core.generation_table import DEADLINE, GENERATION, Writer, inspect
from rescind_sidecar.ports import Tables
from rescind_sidecar.table_file import TableFile

ONE, TWO = bytes(range(16)), bytes(range(16, 32))
BOOT = bytes(16)
SLOTS = 64
ENDS_NS = 10**12

Words = Callable[[], "memoryview[int] | None"]


@dataclass(frozen=True)
class Place:
    """The place of a table, and how a reader maps the table that is there now."""

    tables: Tables
    words: Words


@pytest.fixture(params=["memory", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "memory":
        tables = TablesInMemory(slots=SLOTS)
        return Place(tables, lambda: tables.words)
    path = tmp_path / "search.table"

    def mapped() -> "memoryview[int] | None":
        if not path.exists():
            return None
        with path.open("r+b") as file:
            return memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")

    return Place(TableFile(tmp_path / "search.sock", boot=BOOT, slots=SLOTS), mapped)


def deadlines(words: "memoryview[int]") -> set[int]:
    return {words[each] for each in DEADLINE.values()}


def leased(place: Place, instance: bytes = ONE) -> Writer:
    """Begin a table, and move its deadlines."""
    writer = place.tables.begin(instance)
    writer.extend(ENDS_NS)
    return writer


def there(place: Place) -> "memoryview[int]":
    words = place.words()
    assert words is not None
    return words


def test_a_table_begins_empty_and_names_its_instance(place: Place) -> None:
    place.tables.begin(ONE)
    words = there(place)
    assert inspect(words) == (ONE, BOOT, SLOTS)
    assert (deadlines(words), words[GENERATION]) == ({0}, 0)


def test_a_reader_sees_what_its_writer_writes(place: Place) -> None:
    writer = place.tables.begin(ONE)
    words = there(place)
    writer.extend(ENDS_NS)
    assert min(deadlines(words)) >= ENDS_NS
    writer.bump("tenant:a", applied=1)
    assert words[GENERATION] == 1


def test_the_next_table_ends_the_leases_of_the_one_before(place: Place) -> None:
    leased(place)
    before = there(place)
    place.tables.begin(TWO)
    assert deadlines(before) == {0}
    assert inspect(there(place))[0] == TWO


def test_a_writer_of_a_former_table_extends_no_lease(place: Place) -> None:
    former = leased(place)
    before = there(place)
    place.tables.begin(TWO)
    former.extend(ENDS_NS)
    assert deadlines(before) == deadlines(there(place)) == {0}


def test_a_retired_table_has_no_lease_and_is_gone(place: Place) -> None:
    writer = leased(place)
    before = there(place)
    place.tables.retire()
    assert deadlines(before) == {0}
    assert place.words() is None
    writer.extend(ENDS_NS)
    assert deadlines(before) == {0}


def test_retiring_where_no_table_is_does_nothing(place: Place) -> None:
    for _ in range(2):
        place.tables.retire()
    assert place.words() is None
