"""Wait for a receipt, and show the progress meanwhile."""

import contextlib
import sys
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, NoReturn

import click

from rescind_cli.output import terminal
from rescind_cli.output.exit_codes import EXIT_INTERRUPTED, Exit

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import (
        Admin,
        CommandProgress,
        GraceVerifier,
        ReceiptContent,
        ReceiptSummary,
        RevocationDetails,
        VerifierOutcome,
        WaitProgress,
    )

MAX_SHOWN = 50
MAX_SERVICES = 20
"""The most verifiers, and services, that are shown; JSON contains all of them."""

MAX_NAMED = 5
"""The most verifiers that a wait names if it ends early."""

_STEP_S = 1.0
_ALL = "--json has all"


class ReceiptWait:
    """A wait for the receipt of a command, which ends with the receipt, the timeout or Ctrl-C.

    `interrupted` is True after Ctrl-C.
    """

    def __init__(
        self,
        admin: "Admin",
        revocation_id: str,
        done: "CommandProgress | None" = None,
        *,
        timeout_s: float | None,
    ) -> None:
        """Store the revocation to wait for, and the answer so far."""
        self._admin = admin
        self._id = revocation_id
        self._done = done
        self._last: RevocationDetails | None = None
        self._ends_s = None if timeout_s is None else time.monotonic() + timeout_s
        self.interrupted = False

    def run(self) -> "RevocationDetails | None":
        """Wait, and return the last answer; None if there was none."""
        try:
            self._until_over()
        except KeyboardInterrupt:
            self.interrupted = True
        _show_progress(None)
        return self._last

    def end(self, *, as_json: bool) -> NoReturn:
        """Exit with the code of the wait. If it ended early, print that, and how to go on."""
        if not self._is_over() and not as_json:
            sys.stderr.write(f"{not_yet(self._id, self._done)}\n")
        code = EXIT_INTERRUPTED if self.interrupted else exit_code(self._done)
        raise click.exceptions.Exit(code)

    def _until_over(self) -> None:
        while not self._is_over():
            _show_progress(_progress(self._done))
            left_s = _STEP_S
            if self._ends_s is not None:
                left_s = min(_STEP_S, self._ends_s - time.monotonic())
            if left_s <= 0:
                return
            self._done = self._last = self._admin.receipt(self._id, timeout_s=left_s)

    def _is_over(self) -> bool:
        return self._done is not None and self._done["state"] == "enforced"


def not_yet(revocation_id: str, done: "CommandProgress | None") -> str:
    """Return the text that a command is committed, what it waits for, and how to go on."""
    progress = _progress(done)
    waits_for = () if progress is None else progress.get("waits_for") or ()
    named = [
        f"{each['service']} ({each['instance'][:12]}{_describe_silence(each.get('silent_s'))})"
        for each in waits_for[:MAX_NAMED]
    ]
    missing = 0 if progress is None else progress["of"] - _count_settled(progress)
    if missing > len(named):
        named.append(f"{missing - len(named):,} more")
    waits = f": it waits for {', '.join(named)}" if named else ""
    return (
        f"rescind: NOT enforced yet{waits}. "
        f"It is committed, and enforcement goes on: `rescind receipt {revocation_id}` waits for it."
    )


@contextlib.contextmanager
def reported_interruption(idempotency_key: str) -> Generator[None]:
    """Print at Ctrl-C that a command may have taken effect, and how to repeat it."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(
            "rescind: interrupted before the answer came. The command may have been committed. "
            "Repeat it with the same key, and it is not executed twice: "
            f"--idempotency-key {idempotency_key}\n"
        )
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None


def _describe_silence(silent_s: float | None) -> str:
    return "" if silent_s is None else f", silent for {silent_s:.0f} s"


def exit_code(done: "CommandProgress | None") -> Exit:
    """Return the exit code: enforced, enforced except by verifiers in grace, or not yet.

    After a restore, a verifier that may be missing from the ledger counts like a named one.
    """
    if done is None or done["state"] != "enforced" or done["receipt"] is None:
        return Exit.NOT_YET
    return Exit.GRACE if grace_in(done["receipt"]) else Exit.DONE


def grace_in(receipt: "ReceiptContent") -> bool:
    """Return True if a verifier may be in grace: a named, a counted, or an unknown one.

    An older authority sends neither counts nor unknown verifiers.
    """
    summary = receipt.get("summary")
    counted = summary["grace"] if summary else 0
    return bool(receipt["grace"] or counted or receipt.get("unknown_grace_until"))


def completed(admin: "Admin", done: "RevocationDetails") -> "RevocationDetails":
    """Return an answer whose receipt lists all verifiers, fetched page by page."""
    receipt = done.get("receipt")
    if not receipt or receipt.get("next") is None:
        return done
    verifiers: list[VerifierOutcome] = []
    grace: list[GraceVerifier] = []
    for page in admin.receipt_pages(done["id"]):
        verifiers += page["verifiers"]
        grace += page["grace"]
    return {
        **done,
        "receipt": {**receipt, "verifiers": verifiers, "grace": grace, "next": None},
    }


def show(receipt: "ReceiptContent") -> None:
    """Show the verifiers of a receipt, and the latency of each.

    If there are very many, show counts and the notable verifiers.
    """
    verifiers, summary = receipt["verifiers"], receipt.get("summary")
    total = summary["verifiers"] if summary else len(verifiers)
    in_grace = summary["grace"] if summary else len(receipt["grace"])
    if summary and total > MAX_SHOWN:
        _show_services(summary)
        verifiers = summary["notable"]
    rows = [
        (
            each["service"],
            each["instance"][:12],
            each["outcome"],
            f"{each['latency_ms']:.1f} ms",
        )
        for each in verifiers[:MAX_SHOWN]
    ]
    empty = "No sidecar has a lease." if not total else ""
    terminal.table(("service", "instance", "outcome", "after"), rows, empty=empty)
    if len(rows) < total:
        terminal.line("showing", f"{len(rows):,} of {total:,}: the lapsed, then the slowest", _ALL)
    for each in receipt["grace"][:MAX_SHOWN]:
        terminal.line(
            "grace",
            f"{each['service']} ({each['instance'][:12]}) may accept without a lease "
            f"until {each['until']}: the guarantee does not hold there",
        )
    if in_grace > MAX_SHOWN:
        terminal.line("showing", f"{MAX_SHOWN:,} of {in_grace:,} in grace", _ALL)
    if until := receipt.get("unknown_grace_until"):
        terminal.line(
            "grace",
            "the ledger was restored, and sidecars that it does not list may be in grace until "
            f"{until}: the guarantee does not hold for sidecars that started after the backup",
        )


def _show_services(summary: "ReceiptSummary") -> None:
    services = summary["services"]
    shown = services[:MAX_SERVICES]
    rows = [
        (
            each["service"],
            f"{each['acknowledged']:,}",
            f"{each['released']:,}",
            f"{each['lapsed']:,}",
            f"{each['grace']:,}",
            f"{each['slowest_ms']:.1f} ms",
        )
        for each in shown
    ]
    columns = ("service", "acknowledged", "released", "lapsed", "grace", "slowest")
    terminal.table(columns, rows, empty="")
    left = len(services) - len(shown) + summary["services_left"]
    if left:
        terminal.line("showing", f"{len(shown):,} of {len(shown) + left:,} services", _ALL)


def _progress(done: "CommandProgress | None") -> "WaitProgress | None":
    return None if done is None else done.get("progress")


def _count_settled(progress: "WaitProgress") -> int:
    """Return the number of verifiers that the wait no longer needs."""
    known = progress["acknowledged"] + progress["released"]
    return known + progress["lapsed"] + progress["grace"]


def _show_progress(progress: "WaitProgress | None") -> None:
    """Write a progress line that replaces itself, on a terminal."""
    if not sys.stderr.isatty():
        return
    sys.stderr.write("\r\x1b[K")
    if progress is not None:
        left = progress["of"] - _count_settled(progress)
        sys.stderr.write(
            f"{progress['acknowledged']}/{progress['of']} acknowledged"
            + (f", {left} lapse in {progress['lapse_in_s']:.1f} s" if left else "")
        )
    sys.stderr.flush()
