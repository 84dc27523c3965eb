"""What holds a token, in a line."""

from collections.abc import Mapping
from typing import Any


def said(hold: Mapping[str, Any]) -> str:
    """Say what it does to whom, until when, and its id."""
    return f"{what(hold)} of {whom(hold)}{_until(hold)} ({hold['id']})"


def what(hold: Mapping[str, Any]) -> str:
    """Name its effect, with what it takes away."""
    without = f" without {' '.join(hold['scopes'])}" if hold["scopes"] else ""
    return f"{hold['effect']}{without}"


def whom(hold: Mapping[str, Any]) -> str:
    """Write its selector as it is meant: all of these handles."""
    return " AND ".join(map(str, hold["selector"]))


def _until(hold: Mapping[str, Any]) -> str:
    return f" until {hold['until']}" if hold["until"] else ""
