"""The number of tokens that a command hit, in words."""

import json
import sys
from typing import TYPE_CHECKING

from rescind_cli.output import terminal

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import RevocationDetails

_NONE = "no live token was hit. Check the selector: `rescind tokens ls` lists the tokens"
_NONE_LIFTED = "the lift affects no live token: it was lifted before, or no live token matches"


def describe(done: "RevocationDetails") -> str | None:
    """Return the numbers of hit tokens and subjects as text; None if they were not counted."""
    tokens = done.get("hit")  # an older authority omits it
    if tokens is None:
        return None
    subjects = done["hit_subjects"] or 0
    about, least = ("", "") if done["hit_exact"] else ("about ", "at least ")
    return f"{about}{_counted(tokens, 'token')} of {least}{_counted(subjects, 'subject')}"


def show(done: "RevocationDetails") -> None:
    """Print the number of hit tokens and subjects on a line of its own."""
    words = describe(done)
    terminal.line("hit", words if words is not None else "not counted in time")


def warn_if_none(done: "RevocationDetails", *, as_json: bool) -> None:
    """Warn on stderr if nothing was hit: most likely something else was meant."""
    if done.get("hit") != 0:
        return
    words = _NONE_LIFTED if done["effect"] == "lift" else _NONE
    if done["effect"] in {"suspend", "narrow", "kill"}:
        words = f"{words}. It also hits tokens that are issued later"
    warn(words, as_json=as_json)


def warn(words: str, *, as_json: bool) -> None:
    """Write a warning on stderr."""
    if as_json:
        sys.stderr.write(json.dumps({"warning": words}) + "\n")
    else:
        sys.stderr.write(f"rescind: warning: {words}\n")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
