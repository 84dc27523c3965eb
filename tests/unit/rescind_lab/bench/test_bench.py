"""What the bench makes of samples: best, ratio, targets, document, table, picture."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from rescind_lab.bench import plot, report, table
from rescind_lab.bench.comparison import Line, LineResult, Measurement, Statistic, Target, compare
from rescind_lab.bench.measurement import measure_in_turns
from rescind_lab.bench.rows import external_authorization
from rescind_lab.bench.samples import Samples, Unit, compute_ratio
from rescind_lab.bench.system import BenchSystem

FASTER = Target(Statistic.RATIO, 50, at_least=True)


def us(*figures: float) -> Samples:
    return Samples(Unit.US, figures)


def per_s(*figures: float) -> Samples:
    return Samples(Unit.PER_S, figures)


def test_the_best_time_is_the_lowest_and_the_best_rate_the_highest() -> None:
    assert us(3, 1, 2).best == 1
    assert per_s(3, 1, 2).best == 3
    assert us(3, 1, 2).median == 2


def test_a_ratio_states_how_many_times_better_rescind_is() -> None:
    assert compute_ratio(us(2, 4), us(100, 300)) == 50
    assert compute_ratio(per_s(30_000, 20_000), per_s(10_000, 5_000)) == 3
    assert compute_ratio(us(4), us(2)) == 0.5


@pytest.mark.parametrize(("share", "figure"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_a_quantile_is_a_figure_that_was_measured(share: float, figure: float) -> None:
    assert us(*range(100, 0, -1)).quantile(share) == figure


async def test_both_sides_are_measured_in_turns() -> None:
    order: list[str] = []

    async def side(name: str, figure: float) -> float:
        order.append(name)
        return figure

    timed = await measure_in_turns(
        {"ours": lambda: side("ours", 1.0), "theirs": lambda: side("theirs", 2.0)},
        rounds=3,
        unit=Unit.US,
    )
    assert order == ["ours", "theirs"] * 3
    assert timed == {"ours": us(1, 1, 1), "theirs": us(2, 2, 2)}


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (FASTER, True),
        (Target(Statistic.RATIO, 51, at_least=True), False),
        (Target(Statistic.BEST, 2, at_least=False), True),
        (Target(Statistic.P50, 3, at_least=False), True),
        (Target(Statistic.P99, 3, at_least=False), False),
    ],
)
def test_a_target_is_compared_with_its_number(target: Target, met: bool) -> None:
    judged = compare(Line("k", "says", "them", (target,)), Measurement(us(2, 3, 9), us(100)))
    assert judged.met == {target: met}
    assert judged.ok is met


def test_a_line_that_missed_one_of_two_targets_counts_as_missed() -> None:
    targets = (FASTER, Target(Statistic.BEST, 1, at_least=False))
    assert compare(Line("k", "says", "them", targets), Measurement(us(2), us(100))).ok is False
    assert compare(Line("k", "says", "them"), Measurement(us(2), us(100))).ok is None


def test_a_target_on_a_ratio_without_an_alternative_is_missed() -> None:
    assert compare(Line("k", "says", None, (FASTER,)), Measurement(us(2))).ok is False


def lines() -> list[LineResult]:
    return [
        compare(
            Line("fast", "fast", "them", (FASTER,)), Measurement(us(1, 2), us(90, 80), "a note")
        ),
        compare(Line("slow", "slow", "them", (FASTER,)), Measurement(per_s(10), per_s(10))),
        compare(Line("free", "free"), Measurement(Samples(Unit.MB, (12.5,)))),
    ]


def test_the_document_holds_every_figure_and_what_follows_from_them() -> None:
    document = json.loads(json.dumps(report.as_document(lines(), quick=True, seconds=1.25)))
    fast: Mapping[str, Any] = document["lines"]["fast"]
    assert fast["ratio"] == 80
    assert fast["met"] is True
    assert fast["notes"] == "a note"
    assert fast["ours"] == {
        "unit": "µs",
        "best": 1,
        "median": 1.5,
        "p99": 2,
        "rounds": 2,
        "figures": [1, 2],
    }
    assert fast["targets"] == [
        {"of": "ratio", "bound": 50, "at_least": True, "number": 80, "met": True}
    ]
    assert document["lines"]["slow"]["met"] is False
    assert document["lines"]["free"]["ratio"] is None
    assert document["quick"] is True


def test_the_table_puts_the_ratio_first_and_marks_missed_targets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report.print_table(lines())
    head, fast, slow, free, *rest = capsys.readouterr().out.splitlines()
    assert head.startswith("RATIO")
    assert fast.startswith("80.0")
    assert "≥ 50.0" in fast
    assert "yes" in fast
    assert " NO " in slow
    assert "12.5 MB" in free
    assert rest[0].startswith("1 of 2")
    assert rest[1].startswith("missed  slow")


def test_the_plot_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot.draw(lines(), tmp_path / "ratios.png")
    assert (tmp_path / "ratios.png").read_bytes().startswith(b"\x89PNG")


async def test_the_row_of_grpc_is_left_out_with_a_reason_without_grpcio(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(external_authorization, "find_spec", lambda _: None)
    assert await external_authorization.measure(cast("BenchSystem", None)) == {}
    assert "row grpc is left out: pip install 'rescind[grpc]'" in capsys.readouterr().err


def test_rows_and_lines_have_one_name_each() -> None:
    names = [row.name for row in table.ROWS]
    keys = [line.key for row in table.ROWS for line in row.lines]
    assert len(names) == len(set(names))
    assert len(keys) == len(set(keys))
    assert [row.name for row in table.select_rows(["http", "check"])] == ["check", "http"]
    assert table.select_rows([]) == table.ROWS


def test_every_line_names_a_target_or_an_alternative_or_belongs_to_one_that_does() -> None:
    for row in table.ROWS:
        assert any(line.targets or line.against for line in row.lines), row.name
