"""The generation table: how every process on a host learns, without asking, that a token was hit.

A file of 64-bit words in the host's byte order, which one sidecar writes and every workload maps
read-only:

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
The order of two accesses is the processor's: x86-64 keeps it, so only there is the table used.
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
"""Where two loads keep their order, as `platform.machine()` calls them, in lower case."""

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
    return tuple(sorted({_slot(handle, slots) for handle in handles}))


def _slot(handle: str, slots: int) -> int:
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
        if not _power_of_two(slots) or len(words) != HEADER_WORDS + slots:
            raise TableError("a table has 2^k slots, and the words for them")
        instance_halves, boot_halves = _halves(instance), _halves(boot)
        self._words = words
        self.posture = posture
        self._graces_ns = [(DEADLINE[kind], posture.grace_ns(kind)) for kind in KINDS]
        self._retired = False
        self.slots = slots
        words[_LAYOUT] = LAYOUT
        words[_SLOTS] = slots
        words[_INSTANCE], words[_INSTANCE + 1] = instance_halves
        words[_BOOT], words[_BOOT + 1] = boot_halves
        words[_MAGIC] = MAGIC  # last: a table without it is not there yet

    @property
    def generation(self) -> int:
        """How many events this table has seen."""
        return self._words[GENERATION]

    def bump(self, anchor: str, *, applied: int) -> None:
        """Show one event to every reader. Only after this may it be acknowledged."""
        words = self._words
        slot = _slot(anchor, self.slots)
        words[slot] = (words[slot] + 1) & _MASK
        # The slot before the generation: the other order lets a reader take the new generation
        # with the old slot, and never look again (design 6.5).
        words[GENERATION] = (words[GENERATION] + 1) & _MASK
        words[_APPLIED] = applied

    def start_at(self, applied: int) -> None:
        """Store the position from which this table begins."""
        self._words[_APPLIED] = applied

    def stamps(self, slots: Sequence[int]) -> tuple[int, ...]:
        """Read the slots of a record, to send along with it."""
        return tuple(map(self._words.__getitem__, slots))

    def extend(self, ends_ns: int) -> None:
        """Move the deadlines, with each kind's grace, after every event the lease has to cover."""
        if self._retired:
            return  # a reply that was under way when the instance gave up: it is counted out by now
        for word, grace_ns in self._graces_ns:
            self._words[word] = ends_ns + grace_ns

    def retire(self) -> None:
        """End every lease that readers of this table still see, and every grace, for good."""
        self._retired = True
        for word in DEADLINE.values():
            self._words[word] = 0


class SlotVersions:
    """The slots of one record as they were when the record was found good.

    `generation` alone may change: it says at which generation the slots were last compared.
    """

    __slots__ = ("generation", "read", "values")

    def __init__(self, *, slots: Sequence[int], values: tuple[int, ...], generation: int) -> None:
        # One slot is read twice: of a single one itemgetter gives a bare number, not a tuple.
        first, *rest = slots
        self.read = itemgetter(first, *(rest or [first]))
        self.values = values if rest else values * 2
        self.generation = generation


def inspect(words: "memoryview[int]") -> tuple[bytes, bytes, int]:
    """Read a table's instance id, boot id and number of slots. Raises TableError."""
    if len(words) < HEADER_WORDS or words[_MAGIC] != MAGIC:
        raise TableError("the file is no generation table, or not yet one")
    if words[_LAYOUT] != LAYOUT:
        raise TableError(
            f"the table has layout {words[_LAYOUT]}, this client reads {LAYOUT}: upgrade the older"
        )
    if not _power_of_two(words[_SLOTS]) or len(words) != HEADER_WORDS + words[_SLOTS]:
        raise TableError("the table's size does not fit its header")
    return (
        _whole(words[_INSTANCE], words[_INSTANCE + 1]),
        _whole(words[_BOOT], words[_BOOT + 1]),
        words[_SLOTS],
    )


def applied(words: "memoryview[int]") -> int:
    """Read the seq of the last event that this table shows."""
    return words[_APPLIED]


def _power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


def _halves(identity: bytes) -> tuple[int, int]:
    if len(identity) != 2 * WORD_BYTES:
        raise TableError("an instance id and a boot id have 16 bytes")
    return int.from_bytes(identity[:WORD_BYTES]), int.from_bytes(identity[WORD_BYTES:])


def _whole(high: int, low: int) -> bytes:
    return high.to_bytes(WORD_BYTES) + low.to_bytes(WORD_BYTES)
