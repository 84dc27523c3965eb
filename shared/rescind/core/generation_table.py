"""The generation table, by which workloads learn without a request that a token may be hit.

The table is a file of 64-bit words in the host's byte order. One sidecar writes it, and every
workload of the host maps it read-only:

    word 0       magic                      word 7        applied: the seq of the last event applied
    word 1       layout version             word 8        generation: +1 for every event applied
    word 2       number of slots, 2^k       words 16-31   deadline of each kind of token,
    words 3-4    instance id                              CLOCK_BOOTTIME in ns (see `KINDS`)
    words 5-6    boot id                    words 512-…   the slots

A handle hashes to one slot. Applying an event adds one to the slot of its selector's anchor, and
only then to `generation`; the deadlines move last. A reader reads the deadline first, then
`generation`, then its slots, and the clock last. Both orders together are the proof (design 6.5):
a reader that sees a new deadline or generation also sees every slot that was bumped before it.

A word is stored and loaded whole: one aligned 64-bit access through a memoryview of format `Q`.
The processor determines the order of two accesses. x86-64 preserves it, so the table is used only
there.
"""

import hashlib
from collections.abc import Iterable, Sequence
from operator import itemgetter

from rescind.core.posture import STRICT, Posture
from rescind.core.token_format import Kind
from rescind.errors import TableError

WORD_BYTES = 8
HEADER_WORDS = 512
DEFAULT_SLOTS = 1 << 20
MAGIC = int.from_bytes(b"rescindT")
LAYOUT = 1
ORDERED_MACHINES = frozenset({"x86_64", "amd64"})
"""The machines that keep the order of two loads: `platform.machine()` in lower case."""

_MAGIC, _LAYOUT, _SLOTS, _INSTANCE, _BOOT, _APPLIED = 0, 1, 2, 3, 5, 7
GENERATION = 8
_DEADLINES = 16

KINDS = (Kind.AGENT, Kind.SERVICE, Kind.SESSION, Kind.PERSONAL, Kind.ADMIN)
DEADLINE = {kind: _DEADLINES + place for place, kind in enumerate(KINDS)}

_MASK = (1 << 64) - 1


def size_bytes(slots: int) -> int:
    """Return the size of a table's file in bytes."""
    return (HEADER_WORDS + slots) * WORD_BYTES


def slots_of(handles: Iterable[str], slots: int) -> tuple[int, ...]:
    """Return the slots of these handles, sorted: SHA-256, first 8 bytes big-endian."""
    return tuple(sorted({_hash_to_slot(handle, slots) for handle in handles}))


def _hash_to_slot(handle: str, slots: int) -> int:
    number = int.from_bytes(hashlib.sha256(handle.encode()).digest()[:WORD_BYTES])
    return HEADER_WORDS + (number & (slots - 1))


class Writer:
    """The sidecar's side of a table. There is one writer, in one thread."""

    def __init__(
        self,
        words: "memoryview[int]",
        *,
        instance: bytes,
        boot: bytes,
        slots: int = DEFAULT_SLOTS,
        posture: Posture = STRICT,
    ) -> None:
        if not _is_power_of_two(slots) or len(words) != HEADER_WORDS + slots:
            raise TableError("a table has 2^k slots, and the words for them")
        instance_halves, boot_halves = _split_id(instance), _split_id(boot)
        self._words = words
        self.posture = posture
        self._graces_ns = [(DEADLINE[kind], posture.grace_ns(kind)) for kind in KINDS]
        self._retired = False
        self.slots = slots
        words[_LAYOUT] = LAYOUT
        words[_SLOTS] = slots
        words[_INSTANCE], words[_INSTANCE + 1] = instance_halves
        words[_BOOT], words[_BOOT + 1] = boot_halves
        words[_MAGIC] = MAGIC  # last: readers reject a table without it

    @property
    def generation(self) -> int:
        """Return the number of events that this table has shown."""
        return self._words[GENERATION]

    def bump(self, anchor: str, *, applied: int) -> None:
        """Show one event to every reader. Only after this may the event be acknowledged."""
        words = self._words
        slot = _hash_to_slot(anchor, self.slots)
        words[slot] = (words[slot] + 1) & _MASK
        # Write the slot before the generation. Otherwise a reader could read the new generation
        # with the old slot, and never compare the slot again (design 6.5).
        words[GENERATION] = (words[GENERATION] + 1) & _MASK
        words[_APPLIED] = applied

    def start_at(self, applied: int) -> None:
        """Store the position from which this table begins."""
        self._words[_APPLIED] = applied

    def stamps(self, slots: Sequence[int]) -> tuple[int, ...]:
        """Return the values of a record's slots, to send them with the record."""
        return tuple(map(self._words.__getitem__, slots))

    def extend(self, ends_ns: int) -> None:
        """Move the deadlines to the end of a lease (CLOCK_BOOTTIME) plus each kind's grace.

        Call it only after every event that the lease has to cover was shown.
        """
        if self._retired:
            return  # a reply in flight when the instance was released: it does not count any more
        for word, grace_ns in self._graces_ns:
            self._words[word] = ends_ns + grace_ns

    def retire(self) -> None:
        """End every lease that readers of this table still see, and every grace, for good."""
        self._retired = True
        for word in DEADLINE.values():
            self._words[word] = 0


class SlotVersions:
    """The slots of one record as they were when the record was found valid.

    Only `generation` may change: it is the generation at which the slots were last compared.
    """

    __slots__ = ("generation", "read", "values")

    def __init__(self, *, slots: Sequence[int], values: tuple[int, ...], generation: int) -> None:
        # A single slot is read twice: for one item, itemgetter returns a number, not a tuple.
        first, *rest = slots
        self.read = itemgetter(first, *(rest or [first]))
        self.values = values if rest else values * 2
        self.generation = generation


def inspect(words: "memoryview[int]") -> tuple[bytes, bytes, int]:
    """Read a table's instance id, boot id and number of slots. Raises TableError."""
    if len(words) < HEADER_WORDS or words[_MAGIC] != MAGIC:
        raise TableError("the file is not a complete generation table")
    if words[_LAYOUT] != LAYOUT:
        raise TableError(
            f"the table has layout {words[_LAYOUT]}, this client reads {LAYOUT}: upgrade the older"
        )
    if not _is_power_of_two(words[_SLOTS]) or len(words) != HEADER_WORDS + words[_SLOTS]:
        raise TableError("the table's size does not fit its header")
    return (
        _join_id(words[_INSTANCE], words[_INSTANCE + 1]),
        _join_id(words[_BOOT], words[_BOOT + 1]),
        words[_SLOTS],
    )


def applied(words: "memoryview[int]") -> int:
    """Return the seq of the last event that this table shows."""
    return words[_APPLIED]


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


def _split_id(identity: bytes) -> tuple[int, int]:
    if len(identity) != 2 * WORD_BYTES:
        raise TableError("an instance id and a boot id have 16 bytes")
    return int.from_bytes(identity[:WORD_BYTES]), int.from_bytes(identity[WORD_BYTES:])


def _join_id(high: int, low: int) -> bytes:
    return high.to_bytes(WORD_BYTES) + low.to_bytes(WORD_BYTES)
