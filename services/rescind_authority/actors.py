"""Name the authority as the actor of what it commits by itself, in events and in the audit."""

RESERVED = "rescind:"
"""What the names of these actors begin with. No other subject begins with it."""

RECOVERY = f"{RESERVED}salvage"
REUSE_DETECTION = f"{RESERVED}reuse"
SCHEDULED_LIFT = f"{RESERVED}until"
SCHEDULED_END = f"{RESERVED}ends"
