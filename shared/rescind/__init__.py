"""rescind: check a token in under a microsecond, and deny it milliseconds after it was revoked."""

from rescind.client.holding import Held
from rescind.client.verifier import Verifier
from rescind.core.record import Record
from rescind.core.verdict import Allowed, Denied, Reason, Verdict
from rescind.errors import DeniedError, RescindError, UnreachableError

__all__ = [
    "Allowed",
    "Denied",
    "DeniedError",
    "Held",
    "Reason",
    "Record",
    "RescindError",
    "UnreachableError",
    "Verdict",
    "Verifier",
]
