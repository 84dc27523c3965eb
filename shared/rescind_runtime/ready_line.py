"""The one line by which a process tells its parent that it is ready, and where it listens."""

import json
import sys
from typing import cast


def announce(*, ready: bool = True, **facts: object) -> None:
    """Print `{"ready": true, …}` with these facts as one line of JSON on standard output.

    Once in a process, after everything listens. Nothing else belongs on standard output:
    the parent reads exactly this line. One that is not ready says `why`, and announces again later.
    """
    sys.stdout.write(json.dumps({"ready": ready, **facts}, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def parse(line: bytes) -> dict[str, object] | None:
    """Return the facts of a ready line, or None if it is something else."""
    try:
        document: object = json.loads(line)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    facts = cast("dict[str, object]", document)
    return facts if facts.pop("ready", None) is True else None


def refusal(line: bytes) -> str | None:
    """Return why a process says that it is not ready; None if the line does not say that."""
    try:
        document: object = json.loads(line)
    except ValueError:
        return None
    match document:
        case {"ready": False, "why": str(why)}:
            return why
        case _:
            return None
