"""What people write, and what it means."""

from datetime import UTC, datetime

import pytest
from click import BadParameter

from rescind_cli.parameters import DURATION, END, LABEL, MOMENT


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("1h", 3600), ("1h30m", 5400), ("30d", 2_592_000)],
)
def test_durations_have_units(text: str, seconds: int) -> None:
    assert DURATION.convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "h", "-5m", "1.5h", "1h 30m", "1y", "٣"])
def test_a_text_that_is_no_duration_says_what_one_looks_like(text: str) -> None:
    with pytest.raises(BadParameter, match="90s, 15m"):
        DURATION.convert(text, None, None)


def test_a_moment_is_sent_in_utc() -> None:
    written = MOMENT.convert("2026-11-22T10:00:00+02:00", None, None)
    assert written == "2026-11-22T08:00:00Z"


def test_a_duration_is_a_moment_that_is_past() -> None:
    moment = datetime.fromisoformat(MOMENT.convert("15m", None, None))
    assert 899 < (datetime.now(UTC) - moment).total_seconds() < 960


def test_an_end_lies_ahead() -> None:
    moment = datetime.fromisoformat(END.convert("15m", None, None))
    assert 840 < (moment - datetime.now(UTC)).total_seconds() < 901
    assert END.convert("2999-01-01T00:00:00Z", None, None) == "2999-01-01T00:00:00Z"
    with pytest.raises(BadParameter, match="past"):
        END.convert("2020-01-01T00:00:00Z", None, None)


@pytest.mark.parametrize("text", ["yesterday", "2026-11-22T10:00:00", "2026-13-01T00:00:00Z"])
def test_a_moment_without_a_zone_is_refused(text: str) -> None:
    with pytest.raises(BadParameter):
        MOMENT.convert(text, None, None)


def test_a_label_splits_at_its_first_equals_sign() -> None:
    assert LABEL.convert("a=b=c", None, None) == ("a", "b=c")
    for text in ("a", "=b"):
        with pytest.raises(BadParameter):
            LABEL.convert(text, None, None)
