"""Run the pages of docs/ that show commands and their output, and compare what they show.

    python -m tests.support.transcripts [PAGE …]       # replace the outputs in the pages

A page is run from its beginning in an empty home folder, on a system of its own:

* `console` blocks hold lines of `$ command`, each followed by its output. All commands of a page
  share one environment. `$ rescind up` and `$ uvicorn` run in the background until the page ends.
* `python` blocks begin with a comment that names their file, and are written to it.

Ids, times, ports, process numbers and the width of columns may differ: see `normal`. If a command
names an id that an earlier output of the page shows, it runs with the id that was printed instead.
"""

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.documents import DOCS
from tests.support.eventually import eventually_blocking
from tests.support.outcomes import LateError
from tests.support.processes import clean_environment

PAGES = tuple(
    DOCS / f"{page}.md" for page in ("quick-start", "agent-went-rogue", "commands", "services")
)
HOME = "/home/you"

_BLOCK = re.compile(r"^```(console|python|sh)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SERVERS = ("rescind up", "uvicorn ")
_DEADLINE_S = 90.0
_STOPPED_WITHIN_S = 60.0
_POLL_S = 0.2
_READING = re.compile(
    r"rescind (check|explain|tree|fleet|events|tokens (ls|show)|subjects|revocations|receipt) "
)
_ID = re.compile(r"\b(?:tok|rev)_[0-9a-hjkmnp-tv-z]{26}")
_NOT_NOW = re.compile(r"denied\s+(unavailable|no_lease)")
_VARYING = (
    (re.compile(r"\brsc_[a-z]{3}_[0-9A-Za-z]+"), "TOKEN"),
    (_ID, "ID"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"(127\.0\.0\.1|localhost):\d+"), r"\1:PORT"),
    (re.compile(r"(\[)\d+(\])"), r"\1PID\2"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "INSTANCE"),
    (re.compile(r"\b\d+-[0-9a-f]{32}\b"), "PREVIEW"),
    (re.compile(r"[\d,.]+ (ms|s|min|h|d)\b( \d+ (min|s|h)\b)?( ago)?"), "DURATION"),
    (re.compile(r"^(used in the last day|at) .*"), r"\1 WHAT SIDECARS HAVE REPORTED"),
    (re.compile(r"[ \t]+"), " "),
)


@dataclass(slots=True)
class Step:
    """A command or a file of a page, with the place of its output in the page's text."""

    command: str
    shown: str
    start: int
    end: int
    background: bool = False
    file: str | None = None


class DifferentError(AssertionError):
    """A command printed something else than its page shows."""


def normal(output: str) -> str:
    """Return a text with everything replaced that differs between two runs."""
    lines = output.strip("\n").splitlines()
    for pattern, place in _VARYING:
        lines = [pattern.sub(place, line.rstrip()) for line in lines]
    return "\n".join(lines)


def steps(page: str) -> Iterator[Step]:
    """Return the steps of a page in order. Raises ValueError for a block that cannot be run."""
    for block in _BLOCK.finditer(page):
        kind, body = block[1], block[2]
        if kind == "sh":
            raise ValueError(f"show the output too, in a block `console`: {body!r}")
        if kind == "python":
            yield _file(body, block.start(2))
        else:
            yield from _commands(body, block.start(2))


def _file(body: str, start: int) -> Step:
    named = re.match(r"# ([\w.-]+\.py)\n", body)
    if not named:
        raise ValueError(f"begin the block with a comment that names its file: {body!r}")
    return Step(body, "", start, start, file=named[1])


def _commands(body: str, start: int) -> Iterator[Step]:
    if not body.startswith("$ "):
        raise ValueError(f"begin the block with `$ command`: {body!r}")
    for found in re.finditer(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", body, re.MULTILINE):
        command, shown = found[1], found[2]
        place = start + found.start(2)
        goes_on = command.startswith(_SERVERS)
        yield Step(command, shown, place, place + len(shown), background=goes_on)


@dataclass(slots=True)
class Terminal:
    """A home folder in which commands run one after the other, sharing their exports."""

    root: Path
    status: int = 0
    ids: dict[str, str] = field(default_factory=dict)
    repeats: bool = True
    running: list[tuple[subprocess.Popen[bytes], Path]] = field(default_factory=list)

    @property
    def home(self) -> Path:
        """Return the folder in which every command runs."""
        return self.root / "you"

    def run(self, step: Step) -> str:
        """Run a step, and return its output as the page would show it."""
        if step.file:
            (self.home / step.file).write_text(step.command, encoding="utf-8")
            return ""
        if step.background:
            return self._start(step)
        output = self._settled(step)
        self.ids.update(zip(_ID.findall(step.shown), _ID.findall(output), strict=False))
        return output

    def _settled(self, step: Step) -> str:
        """Repeat a command that only reads: the expected output may come a little later."""
        command = _ID.sub(lambda found: self.ids.get(found[0], found[0]), step.command)
        end = time.monotonic() + _DEADLINE_S
        output = self._once(command)
        while self._may_come(step, output) and time.monotonic() < end:
            time.sleep(_POLL_S)
            output = self._once(command)
        return output

    def _may_come(self, step: Step, output: str) -> bool:
        if not _READING.match(step.command):
            return False
        if step.command.startswith("rescind check"):  # a wrong answer is not requested again
            return bool(_NOT_NOW.search(output))
        return self.repeats and normal(output) != normal(step.shown)

    def _once(self, command: str) -> str:
        ended = subprocess.run(
            self._script(command),
            cwd=self.home,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_DEADLINE_S,
        )
        self.status = ended.returncode
        return self._shown(ended.stdout)

    def _start(self, step: Step) -> str:
        log = self.root / f"background-{len(self.running)}"
        command = f"{step.command} --port 0"  # pages run beside each other
        with log.open("wb") as file:
            process = subprocess.Popen(
                self._script(f"exec {command}"),
                cwd=self.home,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self.running.append((process, log))
        last = normal(step.shown).rpartition("\n")[2] or "ready: Ctrl-C stops all of it"

        def there() -> bool:
            if process.poll() is not None:
                raise DifferentError(f"`{command}` ended: {log.read_text()}")
            return last in normal(log.read_text()).splitlines()

        eventually_blocking(there, deadline_s=_DEADLINE_S)
        return self._shown(log.read_text())

    def _script(self, command: str) -> list[str]:
        state = shlex.quote(str(self.root / "exports"))
        lines = f"[ -f {state} ] && . {state}\ntrap 'export -p >{state}' EXIT\n(exit {self.status})"
        if command.startswith("exec "):
            lines = f"[ -f {state} ] && . {state}"
        return ["bash", "-c", f"{lines}\n{command}"]

    def _environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = clean_environment(HOME=str(self.home), PATH=path, NO_COLOR="1", PYTHONWARNINGS="")
        return {name: each for name, each in kept.items() if not name.startswith("XDG_")}

    def _shown(self, output: str) -> str:
        return output.replace(str(self.home), HOME)

    def stop(self) -> None:
        """Stop the background processes, the newest first."""
        for process, _ in reversed(self.running):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOPPED_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


@contextmanager
def terminal() -> Iterator[Terminal]:
    """Yield a terminal in a new home folder; stop all processes that were started in it."""
    with ExitStack() as stack:
        # Not below pytest's folder: the path of a socket is at most 107 bytes long.
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        opened = Terminal(root)
        opened.home.mkdir()
        stack.callback(opened.stop)
        yield opened


def check(page: Path) -> None:
    """Run a page. Raises DifferentError for the first output that differs from the page."""
    with terminal() as opened:
        for step in steps(page.read_text(encoding="utf-8")):
            output = opened.run(step)
            if normal(output) != normal(step.shown):
                error = LateError if _NOT_NOW.search(output) else DifferentError
                raise error(
                    f"{page.name}: `{step.command}` printed\n{output}\nThe page shows\n{step.shown}"
                    f"\nCompared:\n{normal(output)}\n---\n{normal(step.shown)}"
                )


def rewrite(page: Path) -> None:
    """Run a page, and replace each output that differs."""
    text = page.read_text(encoding="utf-8")
    written, place = "", 0
    with terminal() as opened:
        opened.repeats = False  # do not wait for the output that the page shows so far
        for step in steps(text):
            output = opened.run(step)
            same = normal(output) == normal(step.shown)
            written += text[place : step.start] + (step.shown if same else _ended(output))
            place = step.end
    page.write_text(written + text[place:], encoding="utf-8")


def _ended(output: str) -> str:
    lines = [line.rstrip() for line in output.strip("\n").splitlines()]
    return "".join(f"{line}\n" for line in lines)


def main() -> None:
    """Replace the outputs of the named pages, or of all pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", type=Path, default=PAGES)
    for page in parser.parse_args().pages:
        rewrite(page)


if __name__ == "__main__":
    main()
