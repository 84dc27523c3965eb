"""Ids of what is new here: a time that sorts them, and entropy that nobody guesses."""

from rescind.core import ids
from rescind_authority.ports.keys import Entropy
from rescind_runtime.clock import Clock


def name(kind: str, clock: Clock, entropy: Entropy) -> str:
    """Make an id that nobody has: `tok` for a token, `rev` for a revocation."""
    return ids.make(kind, now_ms=clock.wall_us() // 1000, entropy=entropy(ids.ENTROPY_BYTES))
