"""Reports of use: merged, bounded, and kept while Postgres is away."""

from collections.abc import Collection
from typing import cast

from rescind.core import public_ids
from rescind.wire.usage_report import Used
from rescind_authority.errors import StoreUnavailableError
from rescind_authority.ports.token_search import Tokens, Use
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.usecases.tokens.last_used import Usage

AT_US = 1_767_225_600_000_000


class Marked:
    """A token table that only remembers what was marked."""

    def __init__(self) -> None:
        self.batches: list[Collection[Use]] = []
        self.away = False

    async def any_admin(self, handles: Collection[str]) -> bool:
        raise NotImplementedError

    async def mark_used(self, uses: Collection[Use]) -> None:
        if self.away:
            raise StoreUnavailableError("the test took it away")
        self.batches.append(uses)


def tokens(table: Marked) -> Tokens:
    """Pass it off as a whole one: nothing else is asked of it."""
    return cast("Tokens", table)


def token_ids(count: int) -> tuple[str, ...]:
    return tuple(
        public_ids.make("tok", now_ms=number, entropy=bytes(10)) for number in range(count)
    )


def lost(metrics: PrometheusMetrics) -> float:
    lines = metrics.render().decode().splitlines()
    name = 'rescind_authority_used_tokens_total{outcome="lost"}'
    return next((float(line.split()[-1]) for line in lines if line.startswith(name)), 0)


async def test_repeated_reports_are_written_once_for_each_sidecar() -> None:
    table = Marked()
    usage = Usage(tokens(table), metrics=PrometheusMetrics())
    one, other = bytes(16), bytes(15) + b"1"
    for instance in (one, other, one):
        usage.collect(Used(instance, token_ids(3), AT_US))
    await usage.write()
    written = [
        Use(token_id, instance, AT_US) for token_id in token_ids(3) for instance in (one, other)
    ]
    assert [sorted(batch, key=str) for batch in table.batches] == [sorted(written, key=str)]
    await usage.write()
    assert len(table.batches) == 1


async def test_the_later_time_of_two_reports_counts_in_any_order() -> None:
    table = Marked()
    usage = Usage(tokens(table), metrics=PrometheusMetrics())
    (token_id,) = token_ids(1)
    for at_us in (AT_US, AT_US + 7, AT_US + 3):
        usage.collect(Used(bytes(16), (token_id,), at_us))
    await usage.write()
    assert table.batches == [[Use(token_id, bytes(16), AT_US + 7)]]


async def test_a_report_without_a_time_that_a_column_can_store_is_dropped() -> None:
    table, metrics = Marked(), PrometheusMetrics()
    usage = Usage(tokens(table), metrics=metrics)
    for at_us in (None, 1 << 63, (1 << 64) - 1):
        usage.collect(Used(bytes(16), token_ids(2), at_us))
    await usage.write()
    assert (table.batches, lost(metrics)) == ([], 6)


async def test_a_flood_of_reports_takes_no_memory() -> None:
    metrics = PrometheusMetrics()
    usage = Usage(tokens(Marked()), metrics=metrics, capacity=100)
    usage.collect(Used(bytes(16), token_ids(1_000), AT_US))
    usage.collect(Used(bytes(16), token_ids(100), AT_US))  # known already: none of these is lost
    assert len(usage) == 100
    assert lost(metrics) == 900


async def test_an_invalid_token_id_never_reaches_postgres() -> None:
    table, metrics = Marked(), PrometheusMetrics()
    usage = Usage(tokens(table), metrics=metrics)
    usage.collect(Used(bytes(16), ("tok_\0", "rev_" + "0" * 26, "", "x" * 10_000), AT_US))
    await usage.write()
    assert table.batches == []
    assert lost(metrics) == 4


async def test_without_postgres_reports_are_kept_within_their_bound_and_written_later() -> None:
    table, metrics = Marked(), PrometheusMetrics()
    usage = Usage(tokens(table), metrics=metrics, capacity=3)
    table.away = True
    for _ in range(3):
        usage.collect(Used(bytes(16), token_ids(2), AT_US))
        await usage.write()
    assert (len(usage), lost(metrics)) == (2, 0)
    usage.collect(Used(bytes(15) + b"1", token_ids(2), AT_US))
    assert (len(usage), lost(metrics)) == (3, 1)
    table.away = False
    await usage.write()
    assert ([len(batch) for batch in table.batches], len(usage)) == ([3], 0)
