"""Generate ids of new objects from a time and from entropy.

The time sorts the ids. The entropy makes them unguessable.
"""

from rescind.core import public_ids
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.keys import Entropy


def generate(kind: str, clock: Clock, entropy: Entropy) -> str:
    """Generate an unused id: `tok` for a token, `rev` for a revocation."""
    return public_ids.make(
        kind, now_ms=clock.wall_us() // 1000, entropy=entropy(public_ids.ENTROPY_BYTES)
    )
