"""Reports of the tokens that a sidecar saw in use: best-effort, delayed, in batches.

A report goes in an envelope with the instance's MAC, as a heartbeat does.
"""

from dataclasses import dataclass

from rescind.wire.codec import Fields, Payload, pack
from rescind.wire.heartbeat import INSTANCE_BYTES

MAX_TOKENS = 1_000
"""The largest number of ids in one report: 32 KB, far below the limit of NATS."""

_USED = 1


@dataclass(frozen=True, slots=True)
class Used:
    """The tokens that were valid at a check since the instance's last report.

    `at_us` is a time that the authority's clock had reached then (Unix µs), so that a repeated
    report is about the same time. An older sidecar does not send it.
    """

    instance: bytes
    token_ids: tuple[str, ...]
    at_us: int | None = None


def encode(used: Used) -> bytes:
    """Encode a report."""
    if used.at_us is None:
        return pack(_USED, used.instance, used.token_ids)
    return pack(_USED, used.instance, used.token_ids, used.at_us)


def decode(payload: Payload) -> Used:
    """Decode a report. Raises MalformedMessageError."""
    fields = Fields(payload, message="report of use").expect(_USED)
    instance, token_ids = fields.octets(INSTANCE_BYTES), fields.texts()
    return Used(instance, token_ids, fields.optional_uint() if fields.more else None)
