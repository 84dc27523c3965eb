"""The sentences of a document in Markdown, as readers count them: with their lines."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r" *(```|~~~)")
_BEGINS = re.compile(r"\s*(?:(?:[*+-]|\d+\.|#{1,6}|>) +)+")
_RULE = re.compile(r"\s*\|?[\s:|-]+$")
_CELL = re.compile(r"(?<!\\)\|")
_SPAN = re.compile(r"(`+).+?\1", re.DOTALL)
_LINK = re.compile(r"(!?\[)([^\]]*)(\]\([^()\s]*\))")
_ABBREVIATION = r"(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bvs\.)"
_END = re.compile(rf"(?<=[.!?]){_ABBREVIATION}[*_)\"”]*\s+|(?<=[.!?][*_)\"”])[*_)\"”]*\s+")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence: the line where it begins, and its text with code spans and links masked."""

    line: int
    text: str
    masked: str

    @property
    def words(self) -> int:
        """Return the number of words; a code span is one word, and a dash is none."""
        return sum(bool(re.search(r"\w", word)) for word in self.masked.split())


def sentences(document: str) -> Iterator[Sentence]:
    """Return the sentences of a document without its blocks of code.

    Each paragraph, item of a list, heading and cell of a table is read by itself.
    """
    for pieces in _units(document):
        yield from _split(pieces)


def _units(document: str) -> Iterator[list[tuple[int, str]]]:
    """Return the numbered lines of each unit of reading."""
    unit: list[tuple[int, str]] = []
    fence = ""
    for number, line in enumerate(document.splitlines(), start=1):
        opens = _FENCE.match(line)
        if fence:
            fence = "" if opens and opens[1] == fence else fence
            continue
        begins = _BEGINS.match(line)
        if opens or begins or not line.strip() or line.startswith("|"):
            yield unit
            unit = []
        if opens:
            fence = opens[1]
        elif line.startswith("|"):
            cells = [] if _RULE.match(line) else _CELL.split(line)
            yield from ([(number, cell.strip())] for cell in cells)
        elif line.strip():
            unit.append((number, line[begins.end() if begins else 0 :].strip()))
    yield unit


def _split(pieces: list[tuple[int, str]]) -> Iterator[Sentence]:
    text, starts = "", []
    for _, piece in pieces:
        starts.append(len(text))
        text += piece + " "
    masked = _LINK.sub(_label, _SPAN.sub(lambda span: "x" * len(span[0]), text))
    begin = 0
    for end in (*(found.end() for found in _END.finditer(masked)), len(text)):
        if masked[begin:end].strip():
            line = pieces[bisect_right(starts, begin) - 1][0]
            yield Sentence(line, text[begin:end].strip(), masked[begin:end].strip())
        begin = end


def _label(link: re.Match[str]) -> str:
    """Return a link's label, as long as the whole link."""
    return "\0" * len(link[1]) + link[2] + "\0" * len(link[3])
