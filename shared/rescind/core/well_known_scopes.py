"""The audience and the scopes of rescind's own tokens."""

from collections.abc import Collection

from rescind.core import scopes

AUDIENCE = "rescind"
"""The audience of every token for rescind itself."""

VERIFY = "rescind:verify"
"""The scope of a service's credential: it enrols sidecars, and does nothing else."""

INTROSPECT = "rescind:introspect"
"""The scope of a caller of token introspection: it asks about tokens, and does nothing else."""

CLIENT = "rescind:client"
"""The scope of an OAuth client's credential: it authenticates the client, and does nothing else."""

OF_SERVICES = frozenset({INTROSPECT, CLIENT})
"""Scopes of services, which no administrator needs to hold in order to grant them."""

OWN = "rescind:*"
"""Every scope that grants permissions over rescind itself."""

SERVICE = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
"""The names that a service with sidecars can have (a regular expression)."""


def own(scope: str) -> bool:
    """Return True if a scope, or a part of a pattern, grants permissions over rescind itself."""
    return scopes.meets((OWN,), scope)


def is_credential(granted: Collection[str]) -> bool:
    """Return True if a token with these scopes is a credential, with which sidecars enrol.

    The scope must be granted by its name: no pattern stands for it.
    """
    return VERIFY in granted
