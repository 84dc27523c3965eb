"""The one line by which a process tells its parent that it is ready, and where it listens."""

import json
import sys
from typing import cast


def announce(**facts: object) -> None:
    """Print `{"ready": true, …}` with these facts as one line of JSON on standard output.

    Once in a process, after everything listens. Nothing else belongs on standard output:
    the parent reads exactly this line.
    """
    sys.stdout.write(json.dumps({"ready": True, **facts}, separators=(",", ":")) + "\n")
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
