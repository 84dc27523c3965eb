"""What people write on the command line, and what it means."""

import re
import sys
from datetime import UTC, datetime, timedelta

import click

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SECONDS = re.compile(r"[0-9]+")
_DURATION = re.compile(r"(?:[0-9]+[smhdw])+")
_PART = re.compile(r"([0-9]+)([smhdw])")


class Duration(click.ParamType[int]):
    """A length of time, in seconds: `90`, `90s`, `15m`, `1h30m`, `30d`."""

    name = "duration"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Read seconds; click turns the failure into a usage error."""
        if isinstance(value, int):
            return value
        if _SECONDS.fullmatch(value):
            return int(value)
        if not _DURATION.fullmatch(value):
            self.fail(f"{value!r} is no duration: write 90s, 15m, 1h30m or 30d", param, ctx)
        return sum(int(count) * _UNITS_S[unit] for count, unit in _PART.findall(value))


class Moment(click.ParamType[str]):
    """A moment, as RFC 3339: written so, or as a duration before now (`15m`).

    `ahead` counts a duration from now on, and refuses a moment that is past.
    """

    name = "time"

    def __init__(self, *, ahead: bool = False) -> None:
        self._ahead = ahead

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read a moment; click turns the failure into a usage error."""
        if _DURATION.fullmatch(value):
            length = timedelta(seconds=DURATION.convert(value, param, ctx))
            return _written(_now() + length if self._ahead else _now() - length)
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time: write 2026-11-22T09:30:00Z, or 15m", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value!r} names no time zone: put a Z behind it for UTC", param, ctx)
        if self._ahead and moment <= _now():
            self.fail(f"{value!r} is past: write a time to come, or 2h for two hours", param, ctx)
        return _written(moment.astimezone(UTC))


class Label(click.ParamType[tuple[str, str]]):
    """A label, `key=value`."""

    name = "k=v"

    def convert(
        self,
        value: str | tuple[str, str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, str]:
        """Read a label; click turns the failure into a usage error."""
        if isinstance(value, tuple):
            return value
        key, equals, text = value.partition("=")
        if not key or not equals:
            self.fail(f"{value!r} is no label: write key=value", param, ctx)
        return key, text


DURATION = Duration()
MOMENT = Moment()
END = Moment(ahead=True)
LABEL = Label()


def token_from_stdin() -> str:
    """Read a token from stdin, without an echo on a terminal: it never stands in argv."""
    if sys.stdin.isatty():
        return click.prompt("token", hide_input=True, err=True).strip()
    text = sys.stdin.read().strip()
    if not text:
        raise click.UsageError("there is no token on stdin: rescind … < token-file")
    return text


def _now() -> datetime:
    from rescind_runtime import clock  # noqa: PLC0415 - few commands name a time

    return datetime.fromtimestamp(clock.wall_us() / 1e6, UTC)


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
