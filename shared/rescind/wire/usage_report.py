"""Which tokens a sidecar saw in use: best-effort, delayed reports, in batches.

It goes in an envelope with the instance's MAC, as a heartbeat does.
"""

from dataclasses import dataclass

from rescind.wire.codec import Fields, Payload, pack
from rescind.wire.heartbeat import INSTANCE_BYTES

MOST_TOKENS = 1_000
"""At most so many ids in one report: 32 KB, far below what NATS takes."""

_USED = 1


@dataclass(frozen=True, slots=True)
class Used:
    """Report that these tokens were good at a check since the instance's last report.

    `at_us` is a time that the authority's clock had reached then (Unix µs): the same report, said
    again, is about the same time. An older sidecar does not tell it.
    """

    instance: bytes
    token_ids: tuple[str, ...]
    at_us: int | None = None


def encode(used: Used) -> bytes:
    """Write a report."""
    if used.at_us is None:
        return pack(_USED, used.instance, used.token_ids)
    return pack(_USED, used.instance, used.token_ids, used.at_us)


def decode(payload: Payload) -> Used:
    """Read a report. Raises MalformedMessageError."""
    fields = Fields(payload, message="report of use").expect(_USED)
    instance, token_ids = fields.octets(INSTANCE_BYTES), fields.texts()
    return Used(instance, token_ids, fields.optional_uint() if fields.more else None)
