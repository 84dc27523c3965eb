"""What people see: colour and boxes on a terminal, plain aligned text in a pipe, JSON for programs.

rich is imported only for a terminal; it heeds NO_COLOR itself.
"""

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

_STYLES = {
    "active": "green",
    "ok": "green",
    "live": "green",
    "accepted": "green",
    "committed": "green",
    "enforced": "green",
    "expired": "yellow",
    "not_yet_valid": "yellow",
    "silent": "yellow",
    "overdue": "yellow",
    "suspended": "yellow",
    "warning": "yellow",
    "released": "dim",
    "skipped": "dim",
    "denied": "red",
    "failed": "red",
    "revoked": "red",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def as_json(document: Mapping[str, object]) -> None:
    """Print one document on one line."""
    sys.stdout.write(json.dumps(document, separators=(",", ":"), ensure_ascii=False) + "\n")
    sys.stdout.flush()


def line(state: str, *words: str) -> None:
    """Print one line that begins with a state, in its colour."""
    if not sys.stdout.isatty():
        sys.stdout.write("  ".join([state, *map(shown, words)]) + "\n")
        sys.stdout.flush()
        return
    from rich.console import Console  # noqa: PLC0415 - a pipe need not pay for it
    from rich.text import Text  # noqa: PLC0415 - the same

    text = Text.assemble(
        (state, _STYLES.get(state.strip(), "bold")), *(f"  {shown(word)}" for word in words)
    )
    Console(highlight=False).print(text, soft_wrap=True)


def branch(state: str, text: str) -> None:
    """Print one line of a tree, in the colour of a state."""
    if not sys.stdout.isatty():
        sys.stdout.write(f"{shown(text)}\n")
        return
    from rich.console import Console  # noqa: PLC0415 - a pipe need not pay for it
    from rich.text import Text  # noqa: PLC0415 - the same

    Console(highlight=False).print(Text(shown(text), style=_STYLES.get(state, "")), soft_wrap=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """Print a table, a cell that is a state in its colour; on stderr the words for an empty one."""
    cells = [[shown(cell) for cell in row] for row in rows]
    if not cells:
        sys.stderr.write(f"{empty}\n")
    elif sys.stdout.isatty():
        _rich_table(columns, cells)
    else:
        _plain_table(columns, cells)


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Print facts of one thing, one a line."""
    known = [(name, shown(text)) for name, text in pairs if text]
    width = max((len(name) for name, _ in known), default=0)
    for name, text in known:
        line(f"{name:<{width}}", text)


def shown(text: str) -> str:
    """Make foreign text safe for a terminal: what could move the cursor is written out."""
    return "".join(
        each if not unicodedata.category(each).startswith("C") else f"\\x{ord(each):02x}"
        for each in text
    )


def ago(timestamp: str | None, *, now_us: int) -> str:
    """Say how long ago an RFC 3339 time was, or how far ahead it is."""
    if not timestamp:
        return ""
    seconds = now_us / 1_000_000 - datetime.fromisoformat(timestamp).timestamp()
    return f"{_span(seconds)} ago" if seconds >= 0 else f"in {_span(-seconds)}"


def unix_us(timestamp: str) -> int:
    """Read an RFC 3339 time as Unix microseconds."""
    return (datetime.fromisoformat(timestamp) - _EPOCH) // timedelta(microseconds=1)


def timestamp(unix_us: int) -> str:
    """Write Unix microseconds as RFC 3339, in UTC."""
    seconds, micros = divmod(unix_us, 1_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _span(seconds: float) -> str:
    for place, (unit, length) in enumerate(_UNITS):
        if seconds >= length:
            whole, rest = divmod(int(seconds), length)
            finer = _UNITS[place + 1 :][:1]
            if finer and whole < 10 and rest >= finer[0][1]:  # noqa: PLR2004 - 3 h 20 min, but 17 h
                return f"{whole} {unit} {rest // finer[0][1]} {finer[0][0]}"
            return f"{whole} {unit}"
    return "0 s"


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box  # noqa: PLC0415 - a pipe need not pay for it
    from rich.console import Console  # noqa: PLC0415 - the same
    from rich.table import Table  # noqa: PLC0415 - the same
    from rich.text import Text  # noqa: PLC0415 - the same

    drawn = Table(*columns, box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column in drawn.columns[:1]:
        column.no_wrap = True
    for row in rows:
        drawn.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console(highlight=False).print(drawn)


def _plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [[column.upper() for column in columns], *rows]
    widths = [max(len(row[place]) for row in lines) for place in range(len(columns))]
    for row in lines:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
