"""The NATS subjects. A later version of the protocol uses other subjects, so both can run."""

EVENTS = "rescind.v1.events"
ACK = "rescind.v1.ack"
WANTED = "rescind.v1.wanted"
HEARTBEAT = "rescind.v1.heartbeat"
RESOLVE = "rescind.v1.resolve"
SINCE = "rescind.v1.since"
ENROL = "rescind.v1.enrol"
USED = "rescind.v1.used"
OFFER = "rescind.v1.offer"

AUTHORITY_QUEUE = "authority"
"""The queue group of the authorities: one of them receives each request."""
STREAM = "RESCIND_EVENTS"
"""The JetStream stream that keeps a copy of the pushed events for audits."""

_PREFIX = "rescind.v1."


def path(subject: str) -> str:
    """Return the HTTP path at which the authority serves this NATS subject."""
    return f"/link/v1/{subject.removeprefix(_PREFIX)}"
