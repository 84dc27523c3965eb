"""What holds a token, in a line."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import AppliedRevocation, RevocationDetails


def said(hold: "AppliedRevocation | RevocationDetails") -> str:
    """Return a revocation's effect, selector, end and id, in words."""
    return f"{what(hold)} of {whom(hold)}{_until(hold)} ({hold['id']})"


def what(hold: "AppliedRevocation | RevocationDetails") -> str:
    """Name its effect, with what it takes away."""
    without = f" without {' '.join(hold['scopes'])}" if hold["scopes"] else ""
    return f"{hold['effect']}{without}"


def whom(hold: "AppliedRevocation | RevocationDetails") -> str:
    """Write its selector as it is meant: all of these handles."""
    return " AND ".join(hold["selector"])


def _until(hold: "AppliedRevocation | RevocationDetails") -> str:
    return f" until {hold['until']}" if hold["until"] else ""
