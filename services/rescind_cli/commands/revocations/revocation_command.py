"""The shared parts of revoke, suspend, narrow, kill and lift: options, confirmation, result."""

import contextlib
import functools
import secrets
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import click

from rescind.core.handles import select
from rescind.core.secret import Secret
from rescind_cli.options.authority_options import CommandTarget
from rescind_cli.options.param_types import DURATION, MOMENT, token_from_stdin
from rescind_cli.output import hits, receipt_progress, terminal
from rescind_cli.output.exit_codes import Exit

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import (
        Admin,
        Command,
        RequestOptions,
        RevocationDetails,
        RevocationPreview,
    )

_STDIN = "-"
_FIRST_WAIT_S = 0.5
_PREVIEW_NEEDED = "urn:rescind:problem:preview-needed"


@dataclass(frozen=True, slots=True)
class CommandOptions:
    """The options that every command has. `timeout_s` applies with `wait`."""

    reason: str
    wait: bool
    timeout_s: int | None
    idempotency_key: str

    def apply_to(self, request: "RequestOptions") -> None:
        """Set the fields of a request from the options."""
        request["reason"] = self.reason
        if self.wait:
            # A short first wait marks the event as awaited, so that sidecars acknowledge at once.
            request["wait"] = True
            request["timeout"] = _FIRST_WAIT_S


@dataclass(frozen=True, slots=True)
class Selection:
    """The tokens that a command hits: those of a selector, or the token that stdin contains."""

    selector: tuple[str, ...]
    secret: Secret | None = None
    exact: bool = False
    issued_before: str | None = None

    @classmethod
    def read(cls, selector: tuple[str, ...], *, exact: bool, issued_before: str | None) -> Self:
        """Read the token for `-`, and validate any other selector before it is sent.

        Raises UsageError or SelectorError.
        """
        if _STDIN not in selector:
            select(selector, exact=exact)
            return cls(selector, None, exact, issued_before)
        if len(selector) > 1:
            raise click.UsageError(
                "`-` cannot be combined with a selector: it reads one token from stdin"
            )
        return cls(selector, Secret(token_from_stdin()), exact, issued_before)

    @property
    def wide(self) -> bool:
        """Return True if the command may hit tokens of many holders."""
        return self.secret is None and select(self.selector, exact=self.exact).wide

    def preview(self, admin: "Admin", command: "Command") -> "RevocationPreview":
        """Return what a command would hit, without changing anything."""
        if self.secret is not None:
            return admin.revoke_token(self.secret, dry_run=True, **command)
        return admin.revoke(*self.selector, dry_run=True, **command)

    def revoke(
        self, admin: "Admin", command: "Command", *, idempotency_key: str
    ) -> "RevocationDetails":
        """Send a command for these tokens."""
        if self.secret is not None:
            return admin.revoke_token(self.secret, idempotency_key=idempotency_key, **command)
        return admin.revoke(*self.selector, idempotency_key=idempotency_key, **command)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """How a command that may hit many tokens is confirmed before it is sent."""

    yes: bool = False
    dry_run: bool = False
    preview: str | None = None


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --reason, --wait, --timeout and --idempotency-key, and pass them as `options`."""

    @click.option("--reason", default="", help="Reason, stored in the ledger and the audit.")
    @click.option("--wait", is_flag=True, help="Return when the change is enforced.")
    @click.option("--timeout", type=DURATION, help="With --wait: give up after this time.")
    @click.option("--idempotency-key", help="A repeat with the same key is not executed again.")
    @functools.wraps(command)
    def with_command_options(
        *,
        reason: str,
        wait: bool,
        timeout: int | None,
        idempotency_key: str | None,
        **arguments: object,
    ) -> None:
        key = idempotency_key or _new_key()
        command(options=CommandOptions(reason, wait, timeout, key), **arguments)

    return with_command_options


def with_selection(command: Callable[..., None]) -> Callable[..., None]:
    """Add SELECTOR, --issued-before and --exact, and pass them as `selection`."""

    @click.argument("selector", nargs=-1, required=True)
    @click.option(
        "--issued-before",
        type=MOMENT,
        help="Only tokens issued before this time; 15m is 15 minutes ago.",
    )
    @click.option(
        "--exact", is_flag=True, help="Do not include descendants of the selected tokens."
    )
    @functools.wraps(command)
    def with_selected_tokens(
        *, selector: tuple[str, ...], issued_before: str | None, exact: bool, **arguments: object
    ) -> None:
        selection = Selection.read(selector, exact=exact, issued_before=issued_before)
        command(selection=selection, **arguments)

    return with_selected_tokens


def with_confirmation(command: Callable[..., None]) -> Callable[..., None]:
    """Add --dry-run, --preview and --yes, and pass them as `confirmation`."""

    @click.option(
        "--dry-run", is_flag=True, help="Show how many tokens it would hit; change nothing."
    )
    @click.option(
        "--preview",
        help="The preview from a --dry-run; it replaces the confirmation of a wide selector.",
    )
    @click.option(
        "--yes",
        is_flag=True,
        help="Skip the confirmation. Without a terminal, a wide selector needs it or --preview.",
    )
    @functools.wraps(command)
    def with_command_confirmation(
        *, dry_run: bool, preview: str | None, yes: bool, **arguments: object
    ) -> None:
        command(confirmation=Confirmation(yes, dry_run, preview), **arguments)

    return with_command_confirmation


def confirm_and_send(
    target: CommandTarget,
    selection: Selection,
    confirmation: Confirmation,
    options: CommandOptions,
    *,
    effect: str,
    question: str,
    scopes: Sequence[str] = (),
    until: str | None = None,
) -> None:
    """Carry out a command, after a confirmation if it is wide, and print the result.

    `effect` is that of the API. In `question`, the text of the confirmation, `{}` stands for the
    selector.
    """
    command: Command = {"effect": effect, "exact": selection.exact}
    options.apply_to(command)
    if scopes:
        command["scopes"] = list(scopes)
    if until is not None:
        command["until"] = until
    if selection.issued_before is not None:
        command["issued_before"] = selection.issued_before
    if confirmation.dry_run:
        with target.admin() as admin:
            _show_radius(selection.preview(admin, command), as_json=target.as_json)
        return
    preview = confirmation.preview
    if preview is None and selection.wide:
        preview = _confirm_preview(target, selection, command, question, yes=confirmation.yes)
    if preview is not None:
        command["preview"] = preview
    key = options.idempotency_key
    with _api_fields_as_options():
        send_and_print(
            target,
            options,
            lambda admin: selection.revoke(admin, command, idempotency_key=key),
        )


def send_and_print(
    target: CommandTarget, options: CommandOptions, call: "Callable[[Admin], RevocationDetails]"
) -> None:
    """Send a command, wait if requested, and print the result."""
    with target.admin() as admin:
        with receipt_progress.reported_interruption(options.idempotency_key):
            done = call(admin)
        wait = receipt_progress.ReceiptWait(admin, done["id"], done, timeout_s=options.timeout_s)
        if options.wait:
            done = wait.run() or done
            if target.as_json and not wait.interrupted:
                done = receipt_progress.completed(admin, done)
    if target.as_json:
        terminal.as_json(done)
    else:
        hit = " AND ".join(map(str, done["selector"]))
        words = (str(done["effect"]), hit, f"seq {done['seq']}", str(done["id"]))
        terminal.line(str(done["state"]), *words)
        hits.show(done)
        if (receipt := done.get("receipt")) is not None:
            receipt_progress.show(receipt)
    hits.warn_if_none(done, as_json=target.as_json)
    if options.wait:
        wait.end(as_json=target.as_json)


def _new_key() -> str:
    """Return a new idempotency key.

    The client chooses it, so that an interrupted command can be repeated under the printed key.
    """
    return secrets.token_urlsafe(18)


def _confirm_preview(
    target: CommandTarget, selection: Selection, command: "Command", question: str, *, yes: bool
) -> str:
    """Fetch the preview of a wide command, and return its name once the operator confirmed it.

    Raises UsageError without a terminal, and Exit if the operator declines.
    """
    # The question goes to stderr, and the answer comes from stdin.
    if not (yes or (sys.stdin.isatty() and sys.stderr.isatty())):
        raise click.UsageError(
            "this selector is wide: it may hit tokens of many holders. There is no terminal for a "
            "confirmation: add --yes, or the --preview from a --dry-run"
        )
    with target.admin() as admin:
        radius = selection.preview(admin, command)
    hit = " AND ".join(map(str, radius["selector"]))
    if not (
        yes
        or click.confirm(f"{question.format(hit)} {_describe_radius(radius)} Continue?", err=True)
    ):
        click.echo("Nothing was changed.", err=True)
        raise click.exceptions.Exit(Exit.REFUSED)
    return radius["preview"]


@contextlib.contextmanager
def _api_fields_as_options() -> Generator[None]:
    """Replace an error that names fields of the API by one that names options."""
    from rescind.client.problems import ProblemError  # noqa: PLC0415 - --help need not pay for httpx2

    try:
        yield
    except ProblemError as error:
        if error.type != _PREVIEW_NEEDED:
            raise
        detail = (
            "the selector now hits many more tokens than in the preview. Nothing was changed. "
            "Repeat --dry-run, and add the new --preview."
        )
        raise ProblemError(
            type=error.type, title=error.title, status=error.status, detail=detail
        ) from error


def _describe_radius(radius: "RevocationPreview") -> str:
    about = "" if radius["exact"] else "about "
    hits = f"It hits {about}{radius['tokens']:,} tokens of {radius['subjects']:,} subjects."
    spared = _describe_spared(radius)
    return f"{hits} It spares {spared}." if spared else hits


def _describe_spared(radius: "RevocationPreview") -> str:
    """Describe the matching credentials that are spared. An older authority spares none."""
    count = radius.get("spared_credentials", 0)
    if not count:
        return ""
    credentials = "the credential" if count == 1 else f"{count:,} credentials"
    return f"{credentials} of sidecars (kind:sidecar, token: or subject: includes them)"


def _show_radius(radius: "RevocationPreview", *, as_json: bool) -> None:
    if as_json:
        terminal.as_json(radius)
        return
    about, least = ("", "") if radius["exact"] else ("about ", "at least ")
    terminal.facts(
        [
            ("would hit", " AND ".join(map(str, radius["selector"]))),
            ("tokens", f"{about}{radius['tokens']:,}"),
            ("subjects", f"{least}{radius['subjects']:,}"),
            ("delegated", f"{least}{radius['delegated']:,}"),
            *([("spared", spared)] if (spared := _describe_spared(radius)) else []),
            ("used in the last day", f"{least}{radius['used']:,}"),
            ("at", " ".join(radius["services"]) or "no service reported"),
            ("preview", f"{radius['preview']}{' (required)' if radius['preview_needed'] else ''}"),
        ]
    )
