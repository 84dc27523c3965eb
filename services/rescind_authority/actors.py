"""Names of the authority as the actor of its own commands, in events and in the audit."""

RESERVED = "rescind:"
"""The prefix of these actors' names. No other subject begins with it."""

RECOVERY = f"{RESERVED}salvage"  # a stored name, which cannot follow the name in the code
REUSE_DETECTION = f"{RESERVED}reuse"
SCHEDULED_LIFT = f"{RESERVED}until"
SCHEDULED_END = f"{RESERVED}ends"
