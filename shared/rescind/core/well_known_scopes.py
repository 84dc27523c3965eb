"""The names by which rescind's own tokens are known: where they are good, and for what."""

from collections.abc import Collection

from rescind.core import scopes

AUDIENCE = "rescind"
"""The audience of every token that is for rescind itself."""

VERIFY = "rescind:verify"
"""The scope of a service's credential: it enrols sidecars, and does nothing else."""

OWN = "rescind:*"
"""Every scope that is a power over rescind itself."""

SERVICE = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
"""What a service can be called that has sidecars (a regular expression)."""


def own(scope: str) -> bool:
    """Return True if a scope, or a part of a pattern, is a power over rescind itself."""
    return scopes.meets((OWN,), scope)


def is_credential(granted: Collection[str]) -> bool:
    """Return True if a token with these scopes is what sidecars enrol with.

    The scope has to be there by name: no pattern stands for it.
    """
    return VERIFY in granted
