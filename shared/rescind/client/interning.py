"""One copy of values that many records share: subjects, scopes, stamps of quiet slots."""

from collections.abc import Hashable
from dataclasses import replace
from typing import TypeVar, cast

from rescind.core.record import Record

_MOST = 4_096

_Value = TypeVar("_Value", bound=Hashable)


class Interner:
    """A store of values, one copy of each. It forgets all values when there are many."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, Hashable] = {}

    def one(self, value: _Value) -> _Value:
        """Return the stored copy of a value."""
        if len(self._seen) >= _MOST:
            self._seen.clear()
        return cast("_Value", self._seen.setdefault(value, value))

    def interned(self, record: Record) -> Record:
        """Return a record of interned values without handles: the slots stand for them."""
        interned = replace(
            record,
            subject=self.one(record.subject),
            granted=self.one(record.granted),
            audience=self.one(record.audience),
            labels=self.one(record.labels),
            chain=self.one(record.chain),
            lineage=self.one(record.lineage),
            removed=self.one(record.removed),
            handles=(),
        )
        if interned.removed:
            # `scopes` was computed anew. One narrow may hit every record that is stored here.
            object.__setattr__(interned, "scopes", self.one(interned.scopes))
        return interned
