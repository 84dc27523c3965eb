"""The instance that this process is now: its id, its table and its view, replaced only together."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import structlog

from rescind.wire.enrolment import instance_of
from rescind_sidecar.ports import InstanceKey, InstanceKeys, Tables, Voice
from rescind_sidecar.usecases.tally import Tally
from rescind_sidecar.view.authority_time import AuthorityTime
from rescind_sidecar.view.records import CAPACITY
from rescind_sidecar.view.unknowns import Unknowns
from rescind_sidecar.view.view import View

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@dataclass(slots=True)
class Incarnation:
    """One instance. Its counter numbers what it says, so that an old message changes nothing.

    `voice`, `epoch` and `edge_keys` come with its enrolment; before that it says and holds nothing.
    """

    instance: bytes
    key: InstanceKey
    view: View
    voice: Voice | None = None
    epoch: int | None = None
    edge_keys: tuple[bytes, ...] = ()
    unknowns: Unknowns = field(default_factory=Unknowns)
    counter: Iterator[int] = field(default_factory=lambda: count(1))


class Incarnations:
    """Hold the current instance, and begin a new one when the ledger is no longer its own."""

    def __init__(
        self,
        tables: Tables,
        keys: InstanceKeys,
        tally: Tally,
        *,
        records_capacity: int = CAPACITY,
    ) -> None:
        self._tables = tables
        self._keys = keys
        self._tally = tally
        self._records_capacity = records_capacity
        self.current = self._begin()

    def _begin(self, time: AuthorityTime | None = None) -> Incarnation:
        key = self._keys.fresh()
        instance = instance_of(key.public)
        table = self._tables.begin(instance)
        view = View(table, records_capacity=self._records_capacity, time=time)
        return Incarnation(instance, key, view)

    def begin_anew(self, why: str) -> None:
        """End the instance: no lease, no records, no table of it is believed from here on.

        What it knew of the authority's time stays: another server's clock may be behind.
        """
        ended = self.current
        self.current = self._begin(ended.view.time)
        self._tally.instances_ended += 1
        _log.error(
            "the ledger is not the one that was followed; began anew with nothing in memory",
            action="diverged",
            why=why,
            ended=ended.instance.hex(),
            instance=self.current.instance.hex(),
        )
