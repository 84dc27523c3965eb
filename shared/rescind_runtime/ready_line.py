"""The one line with which a process reports to its parent that it is ready, and its addresses."""

import json
import sys
from typing import cast


def announce(*, ready: bool = True, **facts: object) -> None:
    """Print `{"ready": true, …}` with these facts as one line of JSON on standard output.

    Call this once in a process, after everything listens, and print nothing else on standard
    output: the parent reads exactly this line. A process that is not ready announces `why`, and
    announces again later.
    """
    sys.stdout.write(json.dumps({"ready": ready, **facts}, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def parse(line: bytes) -> dict[str, object] | None:
    """Return the facts of a ready line, or None for any other line."""
    try:
        document: object = json.loads(line)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    facts = cast("dict[str, object]", document)
    return facts if facts.pop("ready", None) is True else None


def refusal(line: bytes) -> str | None:
    """Return why a process is not ready, or None for any other line."""
    try:
        document: object = json.loads(line)
    except ValueError:
        return None
    match document:
        case {"ready": False, "why": str(why)}:
            return why
        case _:
            return None
