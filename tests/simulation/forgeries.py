"""What a client of NATS answers a look-up before the authority does: no sidecar believes it."""

from collections.abc import Sequence

from rescind.wire import heartbeat, records


def answers(recorded: bytes | None) -> Sequence[bytes]:
    """Return answers that are not to this look-up, one of them perhaps a true one to another."""
    unknown = records.encode_resolved(records.Resolved(1, 1 << 40, None))
    return (b"", unknown, heartbeat.ENROL_AGAIN, *((recorded,) if recorded else ()))
