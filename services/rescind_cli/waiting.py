"""Wait for a receipt, and tell meanwhile how far it has come."""

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rescind_cli import render
from rescind_cli.failures import Exit

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import Admin
    from rescind.client.admin.calls import Document

_STEP_S = 1.0


def until_enforced(admin: "Admin", done: "Document", *, timeout_s: float | None) -> "Document":
    """Ask for the receipt until it is there, or the time is up; gives what was said last."""
    ends = None if timeout_s is None else time.monotonic() + timeout_s
    while done["state"] != "enforced":
        _tell(done.get("progress"))
        left_s = _STEP_S if ends is None else min(_STEP_S, ends - time.monotonic())
        if left_s <= 0:
            break
        done = admin.receipt(str(done["id"]), timeout_s=left_s)
    _tell(None)
    return done


def exit_code(done: "Document") -> Exit:
    """Return how it ended: enforced, enforced but for verifiers in grace, or not yet.

    After a restore, a verifier that the ledger may not know counts like one that it names.
    """
    if done["state"] != "enforced":
        return Exit.NOT_YET
    receipt = done["receipt"]
    lenient = receipt["grace"] or receipt.get("unknown_grace_until")
    return Exit.GRACE if lenient else Exit.DONE


def show(receipt: Mapping[str, Any]) -> None:
    """Show who enforces it, and how long each took."""
    rows = [
        (
            str(each["service"]),
            str(each["instance"])[:12],
            str(each["outcome"]),
            f"{each['latency_ms']:.1f} ms",
        )
        for each in receipt["verifiers"]
    ]
    render.table(
        ("service", "instance", "outcome", "after"), rows, empty="No sidecar holds a lease."
    )
    for each in receipt["grace"]:
        render.line(
            "grace",
            f"{each['service']} ({each['instance'][:12]}) may accept without a lease "
            f"until {each['until']}: the guarantee does not hold there",
        )
    if receipt.get("unknown_grace_until"):
        render.line(
            "grace",
            "verifiers that this ledger does not know may be in grace until "
            f"{receipt['unknown_grace_until']}: it was restored, and the guarantee does not hold "
            "where a sidecar began after the backup",
        )


def _tell(progress: Mapping[str, Any] | None) -> None:
    """Write one line that replaces itself, where somebody watches."""
    if not sys.stderr.isatty():
        return
    sys.stderr.write("\r\x1b[K")
    if progress is not None:
        known = sum(progress[name] for name in ("acknowledged", "released", "lapsed", "grace"))
        left = progress["of"] - known
        sys.stderr.write(
            f"{progress['acknowledged']}/{progress['of']} acknowledged"
            + (f", {left} lapse in {progress['lapse_in_s']:.1f} s" if left else "")
        )
    sys.stderr.flush()
