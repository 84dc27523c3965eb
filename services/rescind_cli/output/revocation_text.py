"""Revocations and restrictions of tokens as text, for people."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import RestrictionDetails, RevocationDetails


def describe(revocation: "RestrictionDetails | RevocationDetails") -> str:
    """Return a revocation's effect, selector, end and id, in words."""
    effect, selector = effect_text(revocation), selector_text(revocation)
    return f"{effect} of {selector}{_until_text(revocation)} ({revocation['id']})"


def effect_text(revocation: "RestrictionDetails | RevocationDetails") -> str:
    """Return the effect of a revocation, with the scopes that it removes."""
    without = f" without {' '.join(revocation['scopes'])}" if revocation["scopes"] else ""
    return f"{revocation['effect']}{without}"


def selector_text(revocation: "RestrictionDetails | RevocationDetails") -> str:
    """Return the selector of a revocation as text: its handles, joined by AND."""
    return " AND ".join(revocation["selector"])


def _until_text(revocation: "RestrictionDetails | RevocationDetails") -> str:
    return f" until {revocation['until']}" if revocation["until"] else ""
