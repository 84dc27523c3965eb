"""The table, word by word: another language joins by these tests and their vectors."""

import hashlib
from collections.abc import Callable

import pytest

from rescind.core import generation_table
from rescind.core.generation_table import SlotVersions, Writer
from rescind.core.posture import Posture
from rescind.core.token_format import Kind
from rescind.errors import TableError

SLOTS = 8
INSTANCE = bytes(range(1, 17))
BOOT = bytes(range(17, 33))


def blank(slots: int = SLOTS) -> "memoryview[int]":
    return memoryview(bytearray((512 + slots) * 8)).cast("Q")


def table() -> "tuple[memoryview[int], Writer]":
    words = blank()
    return words, Writer(words, instance=INSTANCE, boot=BOOT, slots=SLOTS)


def changed(words: "memoryview[int]", act: Callable[[], object]) -> dict[int, int]:
    """Say which words an action changed, and to what."""
    before = list(words)
    act()
    return {
        place: now for place, (was, now) in enumerate(zip(before, words, strict=True)) if was != now
    }


class Spy:
    """Stand for the words of a table, and remember in which order they are written."""

    def __init__(self, length: int) -> None:
        self.words = [0] * length
        self.written: list[int] = []

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, place: int) -> int:
        return self.words[place]

    def __setitem__(self, place: int, value: int) -> None:
        self.words[place] = value
        self.written.append(place)


def spied() -> tuple[Spy, Writer]:
    spy = Spy(512 + SLOTS)
    writer = Writer(spy, instance=INSTANCE, boot=BOOT, slots=SLOTS)  # type: ignore[arg-type]  # a spy behaves like the words
    return spy, writer


def test_the_header_has_the_documented_layout() -> None:
    words, _ = table()
    assert {place: word for place, word in enumerate(words) if word} == {
        0: int.from_bytes(b"rescindT"),
        1: 1,
        2: SLOTS,
        3: int.from_bytes(INSTANCE[:8]),
        4: int.from_bytes(INSTANCE[8:]),
        5: int.from_bytes(BOOT[:8]),
        6: int.from_bytes(BOOT[8:]),
    }


def test_the_magic_is_written_last() -> None:
    spy, _ = spied()
    assert spy.written[-1] == 0
    assert spy.written.count(0) == 1


def test_the_file_has_a_page_of_header_and_a_word_for_each_slot() -> None:
    assert generation_table.size_bytes(SLOTS) == 4096 + 64
    assert generation_table.DEFAULT_SLOTS == 1 << 20


def test_a_handle_is_hashed_to_its_slot_as_documented() -> None:
    digest = hashlib.sha256("tenant:é".encode()).digest()
    expected = 512 + int.from_bytes(digest[:8]) % (1 << 20)
    assert generation_table.slots_of(["tenant:é"], 1 << 20) == (expected,)
    assert generation_table.slots_of(["*"], 1 << 20) == (98_615,)


def test_slots_are_sorted_and_named_once() -> None:
    many = [f"tenant:{number}" for number in range(100)]
    slots = generation_table.slots_of(many, SLOTS)
    assert slots == tuple(range(512, 512 + SLOTS))


def test_an_event_moves_its_slot_then_the_generation_then_applied() -> None:
    spy, writer = spied()
    spy.written.clear()
    writer.bump("tenant:t", applied=41)
    (slot,) = generation_table.slots_of(["tenant:t"], SLOTS)
    assert spy.written == [slot, 8, 7]
    assert [spy[place] for place in spy.written] == [1, 1, 41]


def test_an_event_moves_nothing_else() -> None:
    words, writer = table()
    (slot,) = generation_table.slots_of(["tenant:t"], SLOTS)
    assert changed(words, lambda: writer.bump("tenant:t", applied=41)) == {slot: 1, 8: 1, 7: 41}
    assert changed(words, lambda: writer.bump("tenant:t", applied=42)) == {slot: 2, 8: 2, 7: 42}
    assert writer.generation == 2
    assert generation_table.applied(words) == 42


def test_a_full_counter_wraps_around() -> None:
    words, writer = table()
    (slot,) = generation_table.slots_of(["tenant:t"], SLOTS)
    words[slot] = words[8] = 2**64 - 1
    writer.bump("tenant:t", applied=1)
    assert (words[slot], words[8]) == (0, 0)


def test_each_kind_has_its_own_deadline() -> None:
    words, writer = table()
    assert generation_table.DEADLINE == {
        Kind.AGENT: 16,
        Kind.SERVICE: 17,
        Kind.SESSION: 18,
        Kind.PERSONAL: 19,
        Kind.ADMIN: 20,
    }
    assert changed(words, lambda: writer.extend(99)) == dict.fromkeys(range(16, 21), 99)
    assert changed(words, writer.retire) == dict.fromkeys(range(16, 21), 0)


def test_grace_lengthens_the_deadlines_of_its_kinds_and_retiring_ends_them_too() -> None:
    words, _ = table()
    posture = Posture.parse("grace:session=2s")
    writer = Writer(words, instance=INSTANCE, boot=BOOT, slots=SLOTS, posture=posture)
    writer.extend(99)
    deadlines = {kind: words[word] for kind, word in generation_table.DEADLINE.items()}
    assert deadlines == dict.fromkeys(Kind, 99) | {Kind.SESSION: 2_000_000_099}
    writer.retire()
    assert {words[word] for word in generation_table.DEADLINE.values()} == {0}


def test_a_retired_table_is_never_extended_again() -> None:
    words, writer = table()
    writer.extend(99)
    writer.retire()
    assert changed(words, lambda: writer.extend(999)) == {}  # the reply came after the release


def test_a_new_table_grants_nothing() -> None:
    words, _ = table()
    assert {words[place] for place in generation_table.DEADLINE.values()} == {0}


def test_a_table_states_the_position_at_which_it_begins() -> None:
    words, writer = table()
    assert changed(words, lambda: writer.start_at(70_000)) == {7: 70_000}


@pytest.mark.parametrize(
    "handles", [["tenant:a"], ["tenant:a", "*"], [f"client:{n}" for n in range(9)]]
)
def test_a_stamp_equals_the_slots_until_one_of_them_moves(handles: list[str]) -> None:
    words, writer = table()
    writer.bump(handles[0], applied=1)
    slots = generation_table.slots_of(handles, SLOTS)
    stamp = SlotVersions(slots=slots, values=writer.stamps(slots), generation=writer.generation)
    assert stamp.read(words) == stamp.values
    assert stamp.generation == 1
    for handle in handles:
        fresh = SlotVersions(slots=slots, values=writer.stamps(slots), generation=writer.generation)
        writer.bump(handle, applied=2)
        assert fresh.read(words) != fresh.values


def test_a_stamp_is_independent_of_other_slots() -> None:
    words, writer = table()
    (mine,), (other,) = (
        generation_table.slots_of([name], SLOTS) for name in ("tenant:a", "tenant:c")
    )
    assert mine != other
    stamp = SlotVersions(slots=(mine,), values=writer.stamps((mine,)), generation=0)
    writer.bump("tenant:c", applied=1)
    assert stamp.read(words) == stamp.values


def test_a_reader_can_identify_the_writer_of_the_table() -> None:
    words, _ = table()
    assert generation_table.inspect(words.toreadonly()) == (INSTANCE, BOOT, SLOTS)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        (0, 0),
        (0, 1),
        (0, int.from_bytes(b"Tdnicser")),
        (1, 0),
        (1, 2),
        (2, 0),
        (2, 7),
        (2, 16),
        (2, 1 << 63),
    ],
)
def test_a_table_with_a_broken_header_is_refused(word: int, value: int) -> None:
    words, _ = table()
    words[word] = value
    with pytest.raises(TableError):
        generation_table.inspect(words)


@pytest.mark.parametrize("length", [0, 1, 511, 512, 512 + SLOTS - 1, 512 + SLOTS + 1])
def test_a_table_of_another_size_is_refused(length: int) -> None:
    words, _ = table()
    resized = (list(words) + [0] * 8)[:length]
    raw = memoryview(b"".join(word.to_bytes(8, "little") for word in resized) or b"").cast("Q")
    with pytest.raises(TableError):
        generation_table.inspect(raw)


def test_a_number_of_slots_that_no_mask_fits_is_refused() -> None:
    words = blank(7)
    words[0], words[1], words[2] = generation_table.MAGIC, 1, 7
    with pytest.raises(TableError):
        generation_table.inspect(words)


@pytest.mark.parametrize(
    ("slots", "room", "instance", "boot"),
    [
        (0, 0, INSTANCE, BOOT),
        (-8, SLOTS, INSTANCE, BOOT),
        (7, 7, INSTANCE, BOOT),
        (SLOTS, SLOTS - 1, INSTANCE, BOOT),
        (SLOTS, SLOTS, INSTANCE[1:], BOOT),
        (SLOTS, SLOTS, INSTANCE, BOOT + b"x"),
    ],
)
def test_an_illegal_table_raises_and_changes_nothing(
    slots: int, room: int, instance: bytes, boot: bytes
) -> None:
    words = blank(room)
    with pytest.raises(TableError):
        Writer(words, instance=instance, boot=boot, slots=slots)
    assert not any(words)


@pytest.mark.parametrize("ends_ns", [-1, 2**64])
def test_an_illegal_deadline_raises_and_changes_nothing(ends_ns: int) -> None:
    words, writer = table()
    before = list(words)
    with pytest.raises(ValueError, match="format"):
        writer.extend(ends_ns)
    assert list(words) == before
