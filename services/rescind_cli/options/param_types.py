"""The types of the parameters on the command line."""

import itertools
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import click

from rescind_cli import settings

KINDS = ("agent", "service", "session", "personal", "admin")
"""The kinds of token."""

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SECONDS = re.compile(r"[0-9]+")
_DURATION = re.compile(r"(?:[0-9]+[smhdw])+")
_MAX_S = 366 * 86_400
_PART = re.compile(r"([0-9]+)([smhdw])")


class Duration(click.ParamType[int]):
    """A length of time, in seconds: `90`, `90s`, `15m`, `1h30m`, `30d`.

    The bounds are those of the API; errors use the terms of the command line. With `none`, 0 is
    also allowed.
    """

    name = "duration"

    def __init__(self, *, least_s: int = 0, most_s: int | None = None, none: bool = False) -> None:
        self._least_s = least_s
        self._most_s = most_s
        self._none = none

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Read seconds; click turns the failure into a usage error."""
        if isinstance(value, int):
            return value
        if _SECONDS.fullmatch(value):
            seconds = int(value)
        elif _DURATION.fullmatch(value):
            seconds = sum(int(count) * _UNITS_S[unit] for count, unit in _PART.findall(value))
        else:
            self.fail(f"{value!r} is not a duration: write 90s, 15m, 1h30m or 30d", param, ctx)
        if not seconds and self._none:
            return seconds
        if seconds < self._least_s:
            rest = ", or 0 for none" if self._none else ""
            self.fail(
                f"{value!r} is too short: write {_shortest_text(self._least_s)} or more{rest}",
                param,
                ctx,
            )
        if self._most_s is not None and seconds > self._most_s:
            self.fail(
                f"{value!r} is too long: write {_shortest_text(self._most_s)} or less", param, ctx
            )
        return seconds


class TimeParameter(click.ParamType[str]):
    """A time in RFC 3339, given as such or as a duration before now (`15m`).

    With `ahead`, a duration counts from now on, and a past time is rejected.
    """

    name = "time"

    def __init__(self, *, ahead: bool = False) -> None:
        self._ahead = ahead

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read a time; click turns the failure into a usage error."""
        if _DURATION.fullmatch(value):
            length = timedelta(seconds=DURATION.convert(value, param, ctx))
            return _rfc3339(_now() + length if self._ahead else _now() - length)
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time: write 2026-11-22T09:30:00Z, or 15m", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value!r} has no time zone: append Z for UTC", param, ctx)
        if self._ahead and moment <= _now():
            self.fail(f"{value!r} is in the past: write a later time, or 2h", param, ctx)
        return _rfc3339(moment.astimezone(UTC))


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
            self.fail(f"{value!r} is not a label: write key=value", param, ctx)
        return key, text


class Id(click.ParamType[str]):
    """The id of a token or of a revocation, or `-`. Only an empty text is rejected."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read an id; click turns the failure into a usage error."""
        if not value.strip():
            self.fail("the id is empty: is a shell variable not set?", param, ctx)
        return value


T = TypeVar("T")

limit_option = click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    help="How many to show at most; 0: all.",
)


def listed(entries: Iterable[T], limit: int) -> tuple[list[T], bool]:
    """Return the first entries, and whether there are more; a limit of 0 means no limit."""
    if not limit:
        return list(entries), False
    found = list(itertools.islice(entries, limit + 1))
    return found[:limit], len(found) > limit


def distinct(
    _ctx: click.Context, _param: click.Parameter, pairs: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    """Return the labels of an option. Raises BadParameter for a key that is given twice."""
    keys = [key for key, _ in pairs]
    repeated = sorted({key for key in keys if keys.count(key) > 1})
    if repeated:
        raise click.BadParameter(f"{repeated[0]!r} is given more than once: a key has one value")
    return pairs


ID = Id()
DURATION = Duration()
LIFETIME = Duration(least_s=1, most_s=_MAX_S)
OVERLAP = Duration(most_s=_MAX_S)
IDLE = Duration(least_s=60, most_s=_MAX_S, none=True)
MOMENT = TimeParameter()
END = TimeParameter(ahead=True)
LABEL = Label()


def token_from_stdin() -> str:
    """Read a token from stdin, without an echo on a terminal: it never appears in argv."""
    text = _prompt() if sys.stdin.isatty() else sys.stdin.read().strip()
    if not text:
        raise click.UsageError("there is no token on stdin: rescind … < token-file")
    return text


def token_from_stdin_or_environment() -> str:
    """Read a token from stdin, or else from RESCIND_TOKEN; on a terminal, prompt for it last.

    Stdin comes first: it was given to this command, and the environment to all commands.
    """
    given = settings.holder_token()
    kept = "" if given is None else given.reveal()
    if sys.stdin.isatty():
        return kept or _prompt()
    text = sys.stdin.read().strip() or kept
    if not text:
        raise click.UsageError(
            "there is no token on stdin, and none in RESCIND_TOKEN: rescind … < token-file"
        )
    return text


def _prompt() -> str:
    return click.prompt("token", hide_input=True, err=True).strip()


def _shortest_text(seconds: int) -> str:
    """Return seconds as a duration, in the largest unit that divides them."""
    unit = next(unit for unit in "dhms" if seconds % _UNITS_S[unit] == 0)
    return f"{seconds // _UNITS_S[unit]}{unit}"


def _now() -> datetime:
    from rescind_runtime import clock  # noqa: PLC0415 - few commands name a time

    return datetime.fromtimestamp(clock.wall_us() / 1e6, UTC)


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
