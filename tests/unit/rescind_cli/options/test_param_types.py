"""What people write, and what it means."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime

import click
import pytest
from click import BadParameter

from rescind_cli.options import token_options
from rescind_cli.options.param_types import (
    DURATION,
    END,
    IDLE,
    LABEL,
    LIFETIME,
    MOMENT,
    OVERLAP,
    Duration,
    distinct,
    listed,
    token_from_stdin,
    token_from_stdin_or_environment,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("1h", 3600), ("1h30m", 5400), ("30d", 2_592_000)],
)
def test_durations_have_units(text: str, seconds: int) -> None:
    assert DURATION.convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "h", "-5m", "1.5h", "1h 30m", "1y", "٣"])
def test_an_invalid_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(BadParameter, match="90s, 15m"):
        DURATION.convert(text, None, None)


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        (LIFETIME, "0", "too short: write 1s or more"),
        (LIFETIME, "0h", "too short: write 1s or more"),
        (LIFETIME, "367d", "too long: write 366d or less"),
        (OVERLAP, "53w", "too long: write 366d or less"),
        (IDLE, "59s", "too short: write 1m or more, or 0 for none"),
        (IDLE, "367d", "too long: write 366d or less"),
    ],
)
def test_a_duration_out_of_its_bounds_is_refused_with_advice(
    kind: Duration, text: str, says: str
) -> None:
    with pytest.raises(BadParameter, match=says):
        kind.convert(text, None, None)


def test_a_duration_within_its_bounds_is_accepted() -> None:
    assert (LIFETIME.convert("366d", None, None), OVERLAP.convert("0", None, None)) == (
        366 * 86_400,
        0,
    )
    assert [IDLE.convert(text, None, None) for text in ("0", "1m", "60")] == [0, 60, 60]


class Stdin(io.StringIO):
    def __init__(self, text: str, *, terminal: bool = False) -> None:
        super().__init__(text)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(
    ("stdin", "kept", "found"),
    [
        (Stdin("piped\n"), None, "piped"),
        (Stdin("piped\n"), "kept", "piped"),
        (Stdin(""), "kept", "kept"),
        (Stdin("\n"), " kept\n", "kept"),
        (Stdin("typed", terminal=True), "kept", "kept"),
    ],
)
def test_a_token_from_stdin_or_environment_is_on_stdin_or_else_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, stdin: Stdin, kept: str | None, found: str
) -> None:
    monkeypatch.setattr("sys.stdin", stdin)
    monkeypatch.delenv("RESCIND_TOKEN", raising=False)
    if kept is not None:
        monkeypatch.setenv("RESCIND_TOKEN", kept)
    assert token_from_stdin_or_environment() == found


def test_a_token_that_is_acted_on_is_never_the_one_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", Stdin(""))
    monkeypatch.setenv("RESCIND_TOKEN", "kept")
    with pytest.raises(click.UsageError, match="stdin"):
        token_from_stdin()
    monkeypatch.delenv("RESCIND_TOKEN")
    with pytest.raises(click.UsageError, match="RESCIND_TOKEN"):
        token_from_stdin_or_environment()


def test_a_moment_is_sent_in_utc() -> None:
    written = MOMENT.convert("2026-11-22T10:00:00+02:00", None, None)
    assert written == "2026-11-22T08:00:00Z"


def test_a_duration_given_as_a_moment_lies_in_the_past() -> None:
    moment = datetime.fromisoformat(MOMENT.convert("15m", None, None))
    assert 899 < (datetime.now(UTC) - moment).total_seconds() < 960


def test_a_duration_given_as_an_end_lies_in_the_future() -> None:
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


def test_a_label_whose_key_is_given_twice_is_a_usage_error() -> None:
    context, option = click.Context(click.Command("x")), click.Option(["--label"])
    pairs = (("team", "red"), ("step", "1"))
    assert distinct(context, option, pairs) == pairs
    with pytest.raises(BadParameter, match="'team' is given more than once"):
        distinct(context, option, (*pairs, ("team", "blue")))


def test_the_right_none_means_no_rights_and_no_option_means_the_default() -> None:
    assert token_options.rights(()) is None
    assert token_options.rights(("none",)) == []
    assert token_options.rights(("rotate", "delegate", "rotate")) == ["delegate", "rotate"]
    with pytest.raises(click.UsageError):
        token_options.rights(("none", "rotate"))


@pytest.mark.parametrize(("entries", "limit", "more"), [(2, 3, False), (3, 3, False), (4, 3, True)])
def test_one_entry_beyond_the_limit_shows_that_there_are_more(
    entries: int, limit: int, more: bool
) -> None:
    assert listed(range(entries), limit) == (list(range(min(entries, limit))), more)


def test_a_limit_of_0_means_no_limit() -> None:
    assert listed(range(1_000), 0) == (list(range(1_000)), False)


def test_no_entry_is_fetched_after_the_first_one_beyond_the_limit() -> None:
    def pages() -> Iterator[int]:
        yield from range(4)
        pytest.fail("it asked for the next page")

    assert listed(pages(), 3) == ([0, 1, 2], True)
