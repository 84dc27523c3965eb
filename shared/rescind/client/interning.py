"""One copy of values that many records share: subjects, scopes, stamps of quiet slots."""

from collections.abc import Hashable
from dataclasses import replace
from typing import TypeVar, cast

from rescind.core.record import Record

_MOST = 4_096

_Value = TypeVar("_Value", bound=Hashable)


class Interner:
    """A store of values, one copy of each. Above 4,096 values, all are dropped."""

    def __init__(self) -> None:
        self._values: dict[Hashable, Hashable] = {}

    def intern(self, value: _Value) -> _Value:
        """Return the stored copy of a value."""
        if len(self._values) >= _MOST:
            self._values.clear()
        return cast("_Value", self._values.setdefault(value, value))

    def intern_record(self, record: Record) -> Record:
        """Return a record of interned values without handles: the slots stand for them."""
        interned = replace(
            record,
            subject=self.intern(record.subject),
            granted=self.intern(record.granted),
            audience=self.intern(record.audience),
            labels=self.intern(record.labels),
            chain=self.intern(record.chain),
            lineage=self.intern(record.lineage),
            removed=self.intern(record.removed),
            handles=(),
        )
        if interned.removed:
            # `scopes` was computed anew. One narrow may hit every record that is stored here.
            object.__setattr__(interned, "scopes", self.intern(interned.scopes))
        return interned
