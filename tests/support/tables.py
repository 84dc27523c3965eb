"""A generation table in memory, which no other process maps (port Tables)."""

from rescind.core.generation_table import Writer, size_bytes


class TablesInMemory:
    """The place of a table. `words` are those of the current one, None if there is none."""

    def __init__(self, *, slots: int = 64) -> None:
        self.words: memoryview[int] | None = None
        self._slots = slots
        self._writer: Writer | None = None

    def begin(self, instance: bytes) -> Writer:
        """End the leases of the current table, and replace it with a new, empty one."""
        self.retire()
        self.words = memoryview(bytearray(size_bytes(self._slots))).cast("Q")
        self._writer = Writer(self.words, instance=instance, boot=bytes(16), slots=self._slots)
        return self._writer

    def retire(self) -> None:
        """End the leases of the table, and remove it."""
        if self._writer is not None:
            self._writer.retire()
        self._writer = self.words = None
