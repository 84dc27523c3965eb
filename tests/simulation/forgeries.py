"""What a client of NATS answers a look-up before the authority does: no sidecar believes it."""

from collections.abc import Sequence

from rescind.wire import heartbeat, lookups


def answers(recorded: bytes | None) -> Sequence[bytes]:
    """Return answers that are not to this look-up, one of them perhaps a true one to another."""
    unknown = lookups.encode_answer(lookups.LookupAnswer(1, 1 << 40, None))
    return (b"", unknown, heartbeat.ENROL_AGAIN, *((recorded,) if recorded else ()))
