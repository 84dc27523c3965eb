"""The revocations that hold a token, each as one line of text."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import AppliedRevocation, RevocationDetails


def describe(hold: "AppliedRevocation | RevocationDetails") -> str:
    """Return a revocation's effect, selector, end and id, in words."""
    return f"{effect_text(hold)} of {selector_text(hold)}{_until_text(hold)} ({hold['id']})"


def effect_text(hold: "AppliedRevocation | RevocationDetails") -> str:
    """Return the effect of a revocation, with the scopes that it removes."""
    without = f" without {' '.join(hold['scopes'])}" if hold["scopes"] else ""
    return f"{hold['effect']}{without}"


def selector_text(hold: "AppliedRevocation | RevocationDetails") -> str:
    """Return the selector of a revocation as text: its handles, joined by AND."""
    return " AND ".join(hold["selector"])


def _until_text(hold: "AppliedRevocation | RevocationDetails") -> str:
    return f" until {hold['until']}" if hold["until"] else ""
