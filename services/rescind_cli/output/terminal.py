"""Output: colour and boxes on a terminal, plain aligned text in a pipe, JSON for programs.

rich is imported only for a terminal; it respects NO_COLOR itself.
"""

import contextlib
import json
import shutil
import sys
import unicodedata
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from datetime import UTC, datetime

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
_INDENT = "    "
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


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    empty: str,
    cut: Collection[str] = (),
) -> None:
    """Print a table, with states in their colours; if it is empty, print `empty` on stderr.

    On a terminal that is too narrow, each row takes several lines. Only cells of the columns `cut`
    are shortened, so that each fits on a line.
    """
    cells = [[shown(cell) for cell in row] for row in rows]
    if not cells:
        sys.stderr.write(f"{empty}\n")
    elif sys.stdout.isatty():
        _terminal_table(columns, cells, cut=cut)
    else:
        _plain_table(columns, cells)


def rest(shown_rows: int, total: str | None) -> None:
    """Print a last line: how much of a list is shown, and how to see the rest."""
    of = f" of {total}" if total is not None else ", and there are more"
    line("showing", f"{shown_rows:,}{of}; --limit 0 for all")


@contextlib.contextmanager
def status() -> Generator[Callable[[str], None]]:
    """Show the current step during the block, if stderr is a terminal.

    The block receives a function that replaces the shown text.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - a pipe need not pay for it

    with Console(stderr=True).status("starting") as shown_status:
        yield shown_status.update


def erase_line() -> None:
    """Erase the progress line, before another line is printed."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def show_step(words: str) -> None:
    """Write the current step into a line that replaces itself, if stderr is a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{shown(words)}")
        sys.stderr.flush()


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one pair on a line; empty values are left out."""
    known = [(name, shown(text)) for name, text in pairs if text]
    width = max((len(name) for name, _ in known), default=0)
    for name, text in known:
        line(f"{name:<{width}}", text)


def shown(text: str) -> str:
    """Return foreign text with its control characters escaped, so that none moves the cursor."""
    return "".join(
        each if not unicodedata.category(each).startswith("C") else f"\\x{ord(each):02x}"
        for each in text
    )


def ago(timestamp: str | None, *, now_us: int) -> str:
    """Return how long ago an RFC 3339 time was, or how far ahead it is."""
    if not timestamp:
        return ""
    seconds = now_us / 1_000_000 - datetime.fromisoformat(timestamp).timestamp()
    return f"{_span(seconds)} ago" if seconds >= 0 else f"in {_span(-seconds)}"


def timestamp(unix_us: int) -> str:
    """Return Unix microseconds as RFC 3339, in UTC."""
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


def _terminal_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, cut: Collection[str]
) -> None:
    width = shutil.get_terminal_size().columns
    natural = [max(map(_width, cells)) for cells in zip(columns, *rows, strict=True)]
    if sum(natural) + 3 * len(natural) <= width:
        _rich_table(columns, rows)
        return
    _folded_table(columns, rows, natural, width=width, cut=cut)


def _folded_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    *,
    width: int,
    cut: Collection[str],
) -> None:
    """Print each row on several lines, with as many columns on each line as fit."""
    from rich.console import Console  # noqa: PLC0415 - a pipe need not pay for it
    from rich.text import Text  # noqa: PLC0415 - the same

    room = width - len(_INDENT)
    widths = [
        min(each, room) if column in cut else each
        for column, each in zip(columns, widths, strict=True)
    ]
    lines: list[list[int]] = [[]]
    left = width
    for place, each in enumerate(widths):
        if lines[-1] and each > left:
            lines.append([])
            left = room
        lines[-1].append(place)
        left -= each + 2
    console = Console(highlight=False)
    for number, row in enumerate([columns, *rows]):
        for line_number, places in enumerate(lines):
            text = Text(_INDENT if line_number else "")
            for place in places:
                cell = _shortened(row[place], widths[place])
                padding = " " * (widths[place] - _width(cell) + 2)
                style = "bold" if number == 0 else _STYLES.get(row[place], "")
                text.append(cell, style=style)
                text.append(padding if place != places[-1] else "")
            if text.plain.strip():
                console.print(text, soft_wrap=True)


def _shortened(cell: str, width: int) -> str:
    from rich.cells import set_cell_size  # noqa: PLC0415 - a pipe need not pay for it

    return cell if _width(cell) <= width else f"{set_cell_size(cell, max(0, width - 1))}…"


def _width(cell: str) -> int:
    """Return the width of a text in terminal columns; some characters take two."""
    from rich.cells import cell_len  # noqa: PLC0415 - a pipe need not pay for it

    return cell_len(cell)


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
