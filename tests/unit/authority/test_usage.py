"""Reports of use: merged, bounded, and lost without regret."""

from collections.abc import Collection

from rescind.core import ids
from rescind.wire.used import Used
from rescind_authority.errors import StoreUnavailableError
from rescind_authority.metrics import Metrics
from rescind_authority.usecases.usage import Usage


class Marked:
    """A token table that only remembers what was marked."""

    def __init__(self) -> None:
        self.batches: list[Collection[tuple[str, bytes]]] = []
        self.away = False

    async def any_admin(self, handles: Collection[str]) -> bool:
        raise NotImplementedError

    async def mark_used(self, uses: Collection[tuple[str, bytes]]) -> None:
        if self.away:
            raise StoreUnavailableError("the test took it away")
        self.batches.append(uses)


def token_ids(count: int) -> tuple[str, ...]:
    return tuple(ids.make("tok", now_ms=number, entropy=bytes(10)) for number in range(count))


def lost(metrics: Metrics) -> float:
    lines = metrics.render().decode().splitlines()
    name = 'rescind_authority_used_tokens_total{outcome="lost"}'
    return next((float(line.split()[-1]) for line in lines if line.startswith(name)), 0)


async def test_what_sidecars_report_again_is_written_once_for_each():
    table = Marked()
    usage = Usage(table, metrics=Metrics())
    one, other = bytes(16), bytes(15) + b"1"
    for instance in (one, other, one):
        usage.note(Used(instance, token_ids(3)))
    await usage.write()
    written = [(token_id, instance) for token_id in token_ids(3) for instance in (one, other)]
    assert [sorted(batch) for batch in table.batches] == [sorted(written)]
    await usage.write()
    assert len(table.batches) == 1


async def test_a_flood_of_reports_takes_no_memory():
    metrics = Metrics()
    usage = Usage(Marked(), metrics=metrics, capacity=100)
    usage.note(Used(bytes(16), token_ids(1_000)))
    usage.note(Used(bytes(16), token_ids(100)))  # known already: none of these is lost
    assert len(usage) == 100
    assert lost(metrics) == 900


async def test_what_is_no_token_id_never_reaches_postgres():
    table, metrics = Marked(), Metrics()
    usage = Usage(table, metrics=metrics)
    usage.note(Used(bytes(16), ("tok_\0", "rev_" + "0" * 26, "", "x" * 10_000)))
    await usage.write()
    assert table.batches == []
    assert lost(metrics) == 4


async def test_without_postgres_a_report_is_dropped_and_nobody_waits():
    table, metrics = Marked(), Metrics()
    usage = Usage(table, metrics=metrics)
    table.away = True
    usage.note(Used(bytes(16), token_ids(2)))
    await usage.write()
    table.away = False
    await usage.write()
    assert table.batches == []
    assert lost(metrics) == 2
