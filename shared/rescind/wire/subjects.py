"""The NATS subjects. A later version of the protocol takes other ones, and both can run."""

EVENTS = "rescind.v1.events"
ACK = "rescind.v1.ack"
WANTED = "rescind.v1.wanted"
HEARTBEAT = "rescind.v1.heartbeat"
RESOLVE = "rescind.v1.resolve"
SINCE = "rescind.v1.since"
ENROL = "rescind.v1.enrol"
USED = "rescind.v1.used"

AUTHORITY_QUEUE = "authority"
STREAM = "RESCIND_EVENTS"
