"""Keep one copy of what many records have in common: subjects, scopes, stamps of quiet slots."""

from collections.abc import Hashable
from dataclasses import replace
from typing import TypeVar, cast

from rescind.core.record import Record

_MOST = 4_096

_Value = TypeVar("_Value", bound=Hashable)


class Shared:
    """Give back an equal value that was seen before. Forgets all of them when there are many."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, Hashable] = {}

    def one(self, value: _Value) -> _Value:
        """Give the copy that is kept of a value."""
        if len(self._seen) >= _MOST:
            self._seen.clear()
        return cast("_Value", self._seen.setdefault(value, value))

    def slim(self, record: Record) -> Record:
        """Give a record that shares what it can, and has no handles: the slots stand for them."""
        slim = replace(
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
        if slim.removed:
            # What is left was worked out anew. One narrow may hit every record that is kept here.
            object.__setattr__(slim, "scopes", self.one(slim.scopes))
        return slim
