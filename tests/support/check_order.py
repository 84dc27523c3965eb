"""The check order of design 6.5 among real processes: one writes the table, others check by it.

The test starts each process as `python -m tests.support.check_order write|read …`. The processes
share two mapped files: the generation table, and a board with the test's own facts.
"""

import argparse
import mmap
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rescind.client.sidecar_connection import SidecarConnection
from rescind.client.table_reader import MappedTable
from rescind.core import generation_table, token_format
from rescind.core.generation_table import DEADLINE, GENERATION, Writer
from rescind.core.handles import EVERYTHING
from rescind.core.record import Record
from rescind.core.token_format import Kind, TokenHash
from rescind.core.verdict import Allowed, Denied, Reason
from rescind.wire import records, signed_envelope
from rescind.wire.socket_protocol import Entry, Greeting

SLOTS = 1 << 10
INSTANCE = bytes(16)
TERM_NS = 2_000_000
HANDSHAKE_S = 10.0

# The board: the words of the writer …
_ROUND, _ANNOUNCED, _RETURNED, _STOPPED = range(4)
# … the words of each reading thread …
_READERS, READER_WORDS, MAX_READERS = 8, 5, 8
CHECKS, ACCEPTED, VIOLATIONS, _PAUSED, _BEGAN_AFTER = range(READER_WORDS)
# … and for each round the generation and the stamp with which its token was accepted.
_ENTRIES = _READERS + READER_WORDS * MAX_READERS


def board_bytes(rounds: int) -> int:
    """Return the size of the board's file (bytes)."""
    return (_ENTRIES + 2 * (rounds + 1)) * 8


def mapped(path: Path) -> "memoryview[int]":
    """Map a file for reading and writing, as words, until the process ends."""
    with path.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")


def reader_words(board: "memoryview[int]", reader: int) -> "memoryview[int]":
    """Return the words of one reading thread."""
    first = _READERS + READER_WORDS * reader
    return board[first : first + READER_WORDS]


def _handle(number: int) -> str:
    return f"token:{number}"


def _now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _await(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + HANDSHAKE_S
    while not condition():
        if time.monotonic() > ends:
            raise TimeoutError("the other process did not answer")
        time.sleep(0)


# The writer ---------------------------------------------------------------------------------------


class GenerationFirst(Writer):
    """The seeded bug of a writer: it writes the generation before the slot, and pauses between."""

    pause: Callable[[], None]

    def bump(self, anchor: str, *, applied: int) -> None:
        (slot,) = generation_table.slots_of([anchor], self.slots)
        self._words[GENERATION] += 1
        self.pause()
        self._words[slot] += 1


class Schedule:
    """The writer's rounds: a token is accepted, then hit, and the hit is announced."""

    def __init__(
        self, table: "memoryview[int]", board: "memoryview[int]", *, readers: int, order: str
    ) -> None:
        make = GenerationFirst if order == "generation-first" else Writer
        self.writer = make(table, instance=INSTANCE, boot=bytes(16), slots=SLOTS)
        self.board = board
        self.order = order
        self.checks = [reader_words(board, reader) for reader in range(readers)]
        if isinstance(self.writer, GenerationFirst):
            self.writer.pause = self.wait_until_each_reader_checked_twice
        self.random_source = random.Random(1)

    def wait_until_each_reader_checked_twice(self) -> None:
        """Wait until each thread has done two checks: the second began after now."""
        goals = [(words, words[CHECKS] + 2) for words in self.checks]
        _await(lambda: all(words[CHECKS] >= goal for words, goal in goals))

    def play(self, rounds: int) -> None:
        """Play all rounds. In even rounds the hit comes while the sidecar is cut off."""
        for number in range(1, rounds + 1):
            self.begin(number)
            if number % 2 == 0:
                self.lapse_announce_return(number)
            else:
                self.apply_announce(number)
            self.board[_RETURNED] = number
            self.wait_until_each_reader_checked_twice() if self.order != "design" else self.rest()
        self.board[_STOPPED] = 1

    def begin(self, number: int) -> None:
        """Write a lease, and the stamps with which this round's token is good."""
        writer, board = self.writer, self.board
        (slot,) = generation_table.slots_of([_handle(number)], SLOTS)
        board[_ENTRIES + 2 * number] = writer.generation
        board[_ENTRIES + 2 * number + 1] = writer.stamps([slot])[0]
        board[_ROUND] = number
        writer.extend(_now_ns() + TERM_NS)
        if self.order == "design":
            self.rest()
            writer.bump("tenant:another", applied=number)  # readers compare slots in mid-lease
            self.rest()
        else:
            self.wait_until_each_reader_checked_twice()

    def lapse_announce_return(self, number: int) -> None:
        """Wait until the lease is over, announce the receipt, then apply the hit with a lease."""
        _await(lambda: _now_ns() > self.board_deadline())
        self.board[_ANNOUNCED] = number
        if self.order == "lease-read-last":
            _await(lambda: all(words[_PAUSED] == number for words in self.checks))
        elif self.order == "lease-written-first":
            self.writer.extend(_now_ns() + 10**9)
            self.wait_until_each_reader_checked_twice()
        else:
            self.rest()
        self.writer.bump(_handle(number), applied=number)
        self.writer.extend(_now_ns() + TERM_NS)

    def apply_announce(self, number: int) -> None:
        """Apply the hit under a lease, and only then acknowledge it."""
        self.writer.bump(_handle(number), applied=number)
        self.board[_ANNOUNCED] = number
        self.writer.extend(_now_ns() + TERM_NS)

    def board_deadline(self) -> int:
        """Return the end of the lease that readers see."""
        return self.writer.stamps([DEADLINE[Kind.AGENT]])[0]

    def rest(self) -> None:
        """Sleep for a random time, which may be zero."""
        time.sleep(self.random_source.choice([0, 0, 0.000_1, 0.000_5]))


# The readers --------------------------------------------------------------------------------------


class LeaseLast(SidecarConnection):
    """The seeded bug of a reader: it reads the lease after the slots, and pauses in between."""

    board: "memoryview[int]"

    def recall(self, token: str | TokenHash) -> Allowed | Denied | None:
        entry = self._entries.get(token)
        if entry is None:
            return None
        generation = self._words[GENERATION]
        if entry.generation != generation:
            if entry.read(self._words) != entry.values:
                return None
            entry.generation = generation
        mine = reader_words(self.board, int(threading.current_thread().name))
        number = mine[_BEGAN_AFTER]
        if number % 2 == 0 and token == _handle(number):
            mine[_PAUSED] = number
            _await(lambda: self.board[_RETURNED] == number)
        ends_ns = self._words[entry.deadline]
        return entry.allowed if _now_ns() < ends_ns else Denied(Reason.NO_LEASE)


def _entry(number: int, *, generation: int, stamp: int) -> Entry:
    """Return the entry of a round's token as in a sidecar's reply."""
    token = _handle(number)
    record = Record(
        token_hash=token_format.digest(token),
        epoch=1,
        as_of=number,
        token_id=token,
        kind=Kind.AGENT,
        subject="agent:a",
        granted=frozenset(),
        audience=frozenset(),
        issued_at_us=0,
        issued_seq=0,
        not_before_us=0,
        expires_at_us=2**62,
        handles=(EVERYTHING,),
    )
    return Entry(
        request=1,
        instance=INSTANCE,
        record=records.encode(record, signed_envelope.unsigned),
        slots=generation_table.slots_of([token], SLOTS),
        stamps=(stamp,),
        generation=generation,
        not_before_ns=0,
        until_ns=2**63,
    )


def _check_for_ever(connection: SidecarConnection, board: "memoryview[int]", reader: int) -> None:
    """Check the round's token until the writer stops; count the checks accepted after the hit."""
    mine, known = reader_words(board, reader), 0
    while not board[_STOPPED]:
        number = board[_ROUND]
        if number != known:
            place = _ENTRIES + 2 * number
            entry = _entry(number, generation=board[place], stamp=board[place + 1])
            connection._cache.store(_handle(number), entry, words=len(connection._words))
            known = number
        mine[_BEGAN_AFTER] = announced = board[_ANNOUNCED]
        verdict = connection.recall(_handle(number))
        if isinstance(verdict, Allowed):
            mine[ACCEPTED] += 1
            if announced >= number:
                mine[VIOLATIONS] += 1
        mine[CHECKS] += 1


def _read(table_path: Path, board_path: Path, *, first: int, threads: int, order: str) -> None:
    board, table = mapped(board_path), MappedTable.open(table_path)
    make = LeaseLast if order == "lease-read-last" else SidecarConnection
    greeting = Greeting("service", INSTANCE, bytes(16), "strict")
    connection = make(table_path, greeting, table, timeout_s=1.0, most_entries=1_000)
    if isinstance(connection, LeaseLast):
        connection.board = board
    workers = [
        threading.Thread(target=_check_for_ever, args=(connection, board, reader), name=str(reader))
        for reader in range(first, first + threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def main() -> int:
    """Run the writer or one process of readers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["write", "read"])
    parser.add_argument("table", type=Path)
    parser.add_argument("board", type=Path)
    parser.add_argument("--order", required=True)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--readers", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    if asked.role == "write":
        table, board = mapped(asked.table), mapped(asked.board)
        Schedule(table, board, readers=asked.readers, order=asked.order).play(asked.rounds)
    else:
        _read(asked.table, asked.board, first=asked.first, threads=asked.threads, order=asked.order)
    return 0


if __name__ == "__main__":
    sys.exit(main())
