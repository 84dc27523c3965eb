"""Which tokens a sidecar saw in use: reported late, in batches, and nobody misses a lost one.

It goes in an envelope with the instance's MAC, as a heartbeat does.
"""

from dataclasses import dataclass

from rescind.wire.heartbeat import INSTANCE_BYTES
from rescind.wire.packing import Fields, Payload, pack

MOST_TOKENS = 1_000
"""At most so many ids in one report: 32 KB, far below what NATS takes."""

_USED = 1


@dataclass(frozen=True, slots=True)
class Used:
    """Say that these tokens were good at a check since the instance's last report."""

    instance: bytes
    token_ids: tuple[str, ...]


def encode(used: Used) -> bytes:
    """Write a report."""
    return pack(_USED, used.instance, used.token_ids)


def decode(payload: Payload) -> Used:
    """Read a report. Raises MalformedMessageError."""
    fields = Fields(payload, message="report of use").expect(_USED)
    return Used(fields.octets(INSTANCE_BYTES), fields.texts())
