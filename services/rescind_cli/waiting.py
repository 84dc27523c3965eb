"""Wait for a receipt, and tell meanwhile how far it has come."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rescind_cli import render
from rescind_cli.failures import Exit

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import Admin
    from rescind.client.admin.calls import Document

MOST_SHOWN = 50
MOST_SERVICES = 20
"""How many verifiers, and services, are shown; JSON has all of them."""

_STEP_S = 1.0
_ALL = "--json has all"


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
    return Exit.GRACE if grace_in(done["receipt"]) else Exit.DONE


def grace_in(receipt: Mapping[str, Any]) -> bool:
    """Return True if a verifier may be in grace: a named, a counted, or an unknown one.

    An older authority counts none, and knows of no unknown one.
    """
    summary: Mapping[str, Any] = receipt.get("summary") or {"grace": 0}
    return bool(receipt["grace"] or summary["grace"] or receipt.get("unknown_grace_until"))


def completed(admin: "Admin", done: "Document") -> "Document":
    """Return an answer whose receipt lists all verifiers, fetched page by page."""
    receipt = done.get("receipt")
    if not receipt or receipt.get("next") is None:
        return done
    verifiers: list[object] = []
    grace: list[object] = []
    for page in admin.receipt_pages(str(done["id"])):
        verifiers += page["verifiers"]
        grace += page["grace"]
    whole = {**receipt, "verifiers": verifiers, "grace": grace, "next": None}
    return {**done, "receipt": whole}


def show(receipt: Mapping[str, Any]) -> None:
    """Show who enforces it, and how long each took; of very many, how many and the notable ones."""
    verifiers: Sequence[Mapping[str, Any]] = receipt["verifiers"]
    summary: Mapping[str, Any] = receipt.get("summary") or {
        "verifiers": len(verifiers),
        "grace": len(receipt["grace"]),
    }
    total = int(summary["verifiers"])
    if total > MOST_SHOWN and "notable" in summary:
        _show_services(summary)
        verifiers = summary["notable"]
    rows = [
        (
            str(each["service"]),
            str(each["instance"])[:12],
            str(each["outcome"]),
            f"{each['latency_ms']:.1f} ms",
        )
        for each in verifiers[:MOST_SHOWN]
    ]
    empty = "No sidecar holds a lease." if not total else ""
    render.table(("service", "instance", "outcome", "after"), rows, empty=empty)
    if len(rows) < total:
        render.line("showing", f"{len(rows):,} of {total:,}: what lapsed, then the slowest", _ALL)
    for each in receipt["grace"][:MOST_SHOWN]:
        render.line(
            "grace",
            f"{each['service']} ({each['instance'][:12]}) may accept without a lease "
            f"until {each['until']}: the guarantee does not hold there",
        )
    if summary["grace"] > MOST_SHOWN:
        render.line("showing", f"{MOST_SHOWN:,} of {summary['grace']:,} in grace", _ALL)
    if receipt.get("unknown_grace_until"):
        render.line(
            "grace",
            "verifiers that this ledger does not know may be in grace until "
            f"{receipt['unknown_grace_until']}: it was restored, and the guarantee does not hold "
            "where a sidecar began after the backup",
        )


def _show_services(summary: Mapping[str, Any]) -> None:
    services: Sequence[Mapping[str, Any]] = summary["services"]
    shown = services[:MOST_SERVICES]
    outcomes = ("acknowledged", "released", "lapsed", "grace")
    rows = [
        (
            str(each["service"]),
            *(f"{each[name]:,}" for name in outcomes),
            f"{each['slowest_ms']:.1f} ms",
        )
        for each in shown
    ]
    render.table(("service", *outcomes, "slowest"), rows, empty="")
    left = len(services) - len(shown) + int(summary["services_left"])
    if left:
        render.line("showing", f"{len(shown):,} of {len(shown) + left:,} services", _ALL)


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
