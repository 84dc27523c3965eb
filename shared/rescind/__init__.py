"""rescind: check a token in under a microsecond, and deny it milliseconds after it was revoked."""

from rescind.client.holds.hold import ThreadHold
from rescind.client.verifier import Verifier
from rescind.core.record import Record
from rescind.core.verdict import Allowed, Denied, Reason, Verdict
from rescind.errors import DeniedError, RescindError, UnreachableError

__all__ = [
    "Allowed",
    "Denied",
    "DeniedError",
    "Reason",
    "Record",
    "RescindError",
    "ThreadHold",
    "UnreachableError",
    "Verdict",
    "Verifier",
]
