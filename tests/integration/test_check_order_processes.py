"""The check order of design 6.5 with real processes and threads over a real mapping.

The model beside this (tests/model) says which orders are safe. Here the product's own writer and
its own reader run in that order, and no check that began after the announcement of a hit accepts;
and three wrong orders, with a wide window, are caught at it: so this test can fail.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support import check_order

from rescind.core import generation_table
from rescind.core.generation_table import Writer

ENDS_S = 60


@dataclass(frozen=True, slots=True)
class CheckCounts:
    checks: int
    accepted: int
    violations: int


@contextmanager
def started(role: str, folder: Path, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "tests.support.check_order", role]
    process = subprocess.Popen([*command, folder / "table", folder / "board", *arguments])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def play(folder: Path, *, order: str, rounds: int, processes: int, threads: int) -> CheckCounts:
    """Let one process write the table and others check by it, and add up what they saw."""
    slots, readers = check_order.SLOTS, processes * threads
    (folder / "table").write_bytes(bytes(generation_table.size_bytes(slots)))
    (folder / "board").write_bytes(bytes(check_order.board_bytes(rounds)))
    words = check_order.mapped(folder / "table")
    Writer(words, instance=check_order.INSTANCE, boot=bytes(16), slots=slots)
    chosen = ("--order", order)
    firsts = [str(process * threads) for process in range(processes)]
    reading = [("--first", first, "--threads", str(threads), *chosen) for first in firsts]
    with (
        started("read", folder, *reading[0]) as one,
        started("read", folder, *reading[-1]) as other,
        started(
            "write", folder, "--rounds", str(rounds), "--readers", str(readers), *chosen
        ) as writer,
    ):
        assert [each.wait(ENDS_S) for each in (writer, one, other)] == [0, 0, 0]
    board = check_order.mapped(folder / "board")
    seen = [check_order.reader_words(board, reader) for reader in range(readers)]
    return CheckCounts(
        checks=sum(words[check_order.CHECKS] for words in seen),
        accepted=sum(words[check_order.ACCEPTED] for words in seen),
        violations=sum(words[check_order.VIOLATIONS] for words in seen),
    )


def test_no_check_that_began_after_the_announcement_accepts(tmp_path: Path) -> None:
    outcome = play(tmp_path, order="design", rounds=1_500, processes=2, threads=2)
    assert outcome.violations == 0
    assert outcome.checks > 20_000
    assert outcome.accepted > 1_000  # else the readers had no turn


@pytest.mark.parametrize("order", ["generation-first", "lease-written-first", "lease-read-last"])
def test_a_wrong_order_is_caught(tmp_path: Path, order: str) -> None:
    outcome = play(tmp_path, order=order, rounds=6, processes=2, threads=1)
    assert outcome.violations > 0
