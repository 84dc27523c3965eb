"""What revoke, suspend, narrow, kill and lift share: the flags, the question, the end."""

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import click

from rescind.core.handles import Selector, kind_of, select
from rescind.core.secret import Secret
from rescind_cli import render, waiting
from rescind_cli.failures import Exit
from rescind_cli.parameters import DURATION, MOMENT, token_from_stdin
from rescind_cli.target import Target

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import Admin, Manner
    from rescind.client.admin.calls import Document

WIDE = frozenset({"*", "kind", "created_by", "issuer", "tenant", "client", "label"})
"""Handles that hit many tokens of many holders: with these alone a person is asked first."""

_STDIN = "-"
_FIRST_WAIT_S = 0.5


@dataclass(frozen=True, slots=True)
class How:
    """How a command is carried out, whatever it does. `timeout_s` goes with `wait`."""

    reason: str
    wait: bool
    timeout_s: int | None
    idempotency_key: str | None

    def write_into(self, manner: "Manner") -> None:
        """Say it in the fields of the API."""
        manner["reason"] = self.reason
        if self.wait:
            # A short first wait: it says "awaited" on the event, so that sidecars answer at once.
            manner["wait"] = True
            manner["timeout"] = _FIRST_WAIT_S


@dataclass(frozen=True, slots=True)
class Aim:
    """Whom a command hits."""

    selector: tuple[str, ...]
    exact: bool = False
    issued_before: str | None = None


@dataclass(frozen=True, slots=True)
class Care:
    """How a command that may hit many is looked at before it is given."""

    yes: bool = False
    dry_run: bool = False
    preview: str | None = None


def with_how(command: Callable[..., None]) -> Callable[..., None]:
    """Add --reason, --wait, --timeout and --idempotency-key, and hand them over as `how`."""

    @click.option("--reason", default="", help="Why; it stands in the ledger and in the audit.")
    @click.option("--wait", is_flag=True, help="Return when every verifier goes by it.")
    @click.option("--timeout", type=DURATION, help="With --wait: give up after so long.")
    @click.option("--idempotency-key", help="Repeated under one key, it happens once.")
    @functools.wraps(command)
    def told(
        *,
        reason: str,
        wait: bool,
        timeout: int | None,
        idempotency_key: str | None,
        **arguments: object,
    ) -> None:
        command(how=How(reason, wait, timeout, idempotency_key), **arguments)

    return told


def with_aim(command: Callable[..., None]) -> Callable[..., None]:
    """Add SELECTOR and what narrows it down, and hand them over as `aim`."""

    @click.argument("selector", nargs=-1, required=True)
    @click.option(
        "--issued-before", type=MOMENT, help="Spare what was issued later: a time, or 15m."
    )
    @click.option("--exact", is_flag=True, help="Spare what was delegated from what is hit.")
    @functools.wraps(command)
    def aimed(
        *, selector: tuple[str, ...], issued_before: str | None, exact: bool, **arguments: object
    ) -> None:
        command(aim=Aim(selector, exact, issued_before), **arguments)

    return aimed


def with_care(command: Callable[..., None]) -> Callable[..., None]:
    """Add --dry-run, --preview and --yes, and hand them over as `care`."""

    @click.option("--dry-run", is_flag=True, help="Show what would be hit, and change nothing.")
    @click.option("--preview", help="What --dry-run gave; needed for what hits many holders.")
    @click.option("--yes", is_flag=True, help="Do not ask before what hits many.")
    @functools.wraps(command)
    def careful(*, dry_run: bool, preview: str | None, yes: bool, **arguments: object) -> None:
        command(care=Care(yes, dry_run, preview), **arguments)

    return careful


@dataclass(frozen=True, slots=True)
class Deed:
    """What is done to whom a command hits, in the words of the API; `asks` is what it means."""

    effect: str
    asks: str
    scopes: Sequence[str] = ()
    until: str | None = None


def carry_out(target: Target, deed: Deed, aim: Aim, care: Care, how: How) -> None:
    """Do it, after asking a person if many are hit, and tell what came of it."""
    send = _sender(deed, aim, how)
    if care.dry_run:
        with target.admin() as admin:
            _show_radius(send(admin, dry_run=True), as_json=target.as_json)
        return
    preview = care.preview
    if _asks(aim, care):
        with target.admin() as admin:
            preview = _confirm(deed, send(admin, dry_run=True))
    finish(target, how, lambda admin: send(admin, preview=preview))


def finish(target: Target, how: How, call: "Callable[[Admin], Document]") -> None:
    """Send a command, wait if that was asked for, and tell what came of it."""
    with target.admin() as admin:
        done = call(admin)
        if how.wait:
            done = waiting.until_enforced(admin, done, timeout_s=how.timeout_s)
            if target.as_json:
                done = waiting.completed(admin, done)
    if target.as_json:
        render.as_json(done)
    else:
        hit = " AND ".join(map(str, done["selector"]))
        words = (str(done["effect"]), hit, f"seq {done['seq']}", str(done["id"]))
        render.line(str(done["state"]), *words)
        if done.get("receipt"):
            waiting.show(done["receipt"])
    if how.wait:
        raise click.exceptions.Exit(waiting.exit_code(done))


def wide(selector: Selector) -> bool:
    """Say whether a selector names no token, tree, subject or session."""
    return all(kind_of(handle) in WIDE for handle in selector.handles)


class _Send(Protocol):
    def __call__(
        self, admin: "Admin", *, dry_run: bool = False, preview: str | None = None
    ) -> "Document": ...


def _sender(deed: Deed, aim: Aim, how: How) -> _Send:
    """Make the call that gives the command; stdin is read once, and a secret stays in it."""
    from rescind.client.admin import Command  # noqa: PLC0415 - --help need not pay for httpx2

    command = Command(effect=deed.effect, exact=aim.exact)
    how.write_into(command)
    if deed.scopes:
        command["scopes"] = list(deed.scopes)
    if deed.until is not None:
        command["until"] = deed.until
    if aim.issued_before is not None:
        command["issued_before"] = aim.issued_before
    if _STDIN in aim.selector and len(aim.selector) > 1:
        raise click.UsageError("`-` stands alone: the token says all that there is to say")
    secret = Secret(token_from_stdin()) if _STDIN in aim.selector else None
    if secret is None:
        select(aim.selector, exact=aim.exact)  # what is no selector need not be sent

    def send(admin: "Admin", *, dry_run: bool = False, preview: str | None = None) -> "Document":
        told = command.copy()
        if dry_run:
            told["dry_run"] = True
        if preview is not None:
            told["preview"] = preview
        key = None if dry_run else how.idempotency_key
        if secret is not None:
            return admin.revoke_token(secret, idempotency_key=key, **told)
        return admin.revoke(*aim.selector, idempotency_key=key, **told)

    return send


def _asks(aim: Aim, care: Care) -> bool:
    """Say whether a person is to be asked: for many holders, where one sits in front of it."""
    if care.yes or _STDIN in aim.selector or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    return wide(select(aim.selector, exact=aim.exact))


def _confirm(deed: Deed, radius: "Document") -> str:
    """Ask, and give the preview that the answer was about."""
    hit = " AND ".join(map(str, radius["selector"]))
    if not click.confirm(f"{deed.asks.format(hit)} {_radius(radius)} Go on?", err=True):
        click.echo("Nothing was changed.", err=True)
        raise click.exceptions.Exit(Exit.REFUSED)
    return str(radius["preview"])


def _radius(radius: "Document") -> str:
    about = "" if radius["exact"] else "some "
    hits = f"It hits {about}{radius['tokens']:,} tokens of {radius['subjects']:,} subjects."
    spared = _spared(radius)
    return f"{hits} It spares {spared}." if spared else hits


def _spared(radius: "Document") -> str:
    """Name what is left out though it matches; an older authority spares no credentials."""
    count = radius.get("spared_credentials", 0)
    if not count:
        return ""
    credentials = "the credential" if count == 1 else f"{count:,} credentials"
    return f"{credentials} of sidecars (kind:sidecar, token: or subject: names them)"


def _show_radius(radius: "Document", *, as_json: bool) -> None:
    if as_json:
        render.as_json(radius)
        return
    about, least = ("", "") if radius["exact"] else ("some ", "at least ")
    render.facts(
        [
            ("would hit", " AND ".join(map(str, radius["selector"]))),
            ("tokens", f"{about}{radius['tokens']:,}"),
            ("subjects", f"{least}{radius['subjects']:,}"),
            ("delegated", f"{least}{radius['delegated']:,}"),
            *([("spared", spared)] if (spared := _spared(radius)) else []),
            ("used in the last day", f"{least}{radius['used']:,}"),
            ("at", " ".join(radius["services"]) or "no service that has said so"),
            ("preview", f"{radius['preview']}{' (needed)' if radius['preview_needed'] else ''}"),
        ]
    )
