"""What revoke, suspend, narrow, kill and lift share: the flags, the question, the end."""

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from rescind.core.handles import Selector, kind_of, select
from rescind.core.secret import Secret
from rescind_cli import render, waiting
from rescind_cli.failures import Exit
from rescind_cli.parameters import DURATION, MOMENT, token_from_stdin
from rescind_cli.target import Target

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import Admin, Command, Manner
    from rescind.client.admin.calls import Document

WIDE = frozenset({"*", "kind", "issuer", "tenant", "client", "label"})
"""Handles that hit many tokens of many holders: with these alone a person is asked first."""

_STDIN = "-"
_FIRST_WAIT_S = 0.5


@dataclass(frozen=True, slots=True)
class How:
    """How a command is carried out, whatever it does. `timeout_s` goes with `wait`."""

    reason: str
    wait: bool
    timeout_s: int | None
    yes: bool
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
    dry_run: bool = False


def with_how(command: Callable[..., None]) -> Callable[..., None]:
    """Add --reason, --wait, --timeout, --yes and --idempotency-key, and hand them over as `how`."""

    @click.option("--reason", default="", help="Why; it stands in the ledger and in the audit.")
    @click.option("--wait", is_flag=True, help="Return when every verifier goes by it.")
    @click.option("--timeout", type=DURATION, help="With --wait: give up after so long.")
    @click.option("--yes", is_flag=True, help="Do not ask before what hits many.")
    @click.option("--idempotency-key", help="Repeated under one key, it happens once.")
    @functools.wraps(command)
    def told(
        *,
        reason: str,
        wait: bool,
        timeout: int | None,
        yes: bool,
        idempotency_key: str | None,
        **arguments: object,
    ) -> None:
        command(how=How(reason, wait, timeout, yes, idempotency_key), **arguments)

    return told


def with_aim(command: Callable[..., None]) -> Callable[..., None]:
    """Add SELECTOR and what narrows it down, and hand them over as `aim`."""

    @click.argument("selector", nargs=-1, required=True)
    @click.option(
        "--issued-before", type=MOMENT, help="Spare what was issued later: a time, or 15m."
    )
    @click.option("--exact", is_flag=True, help="Spare what was delegated from what is hit.")
    @click.option("--dry-run", is_flag=True, help="Show what would be hit, and change nothing.")
    @functools.wraps(command)
    def aimed(
        *,
        selector: tuple[str, ...],
        issued_before: str | None,
        exact: bool,
        dry_run: bool,
        **arguments: object,
    ) -> None:
        command(aim=Aim(selector, exact, issued_before, dry_run), **arguments)

    return aimed


@dataclass(frozen=True, slots=True)
class Deed:
    """What is done to whom a command hits, in the words of the API; `asks` is what it means."""

    effect: str
    asks: str
    scopes: Sequence[str] = ()
    until: str | None = None


def carry_out(target: Target, deed: Deed, aim: Aim, how: How) -> None:
    """Do it, after asking a person if many are hit, and tell what came of it."""
    command = _command(deed, aim, how)
    key = how.idempotency_key
    if _STDIN in aim.selector:
        if len(aim.selector) > 1:
            raise click.UsageError("`-` stands alone: the token says all that there is to say")
        secret = Secret(token_from_stdin())
        finish(
            target, how, lambda admin: admin.revoke_token(secret, idempotency_key=key, **command)
        )
        return
    meant = select(aim.selector, exact=aim.exact)
    if not (how.yes or aim.dry_run):
        _confirm(meant, deed)
    finish(target, how, lambda admin: admin.revoke(*aim.selector, idempotency_key=key, **command))


def finish(target: Target, how: How, call: "Callable[[Admin], Document]") -> None:
    """Send a command, wait if that was asked for, and tell what came of it."""
    with target.admin() as admin:
        done = call(admin)
        if how.wait:
            done = waiting.until_enforced(admin, done, timeout_s=how.timeout_s)
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


def _command(deed: Deed, aim: Aim, how: How) -> "Command":
    from rescind.client.admin import Command  # noqa: PLC0415 - --help need not pay for httpx2

    command = Command(effect=deed.effect, exact=aim.exact)
    how.write_into(command)
    if deed.scopes:
        command["scopes"] = list(deed.scopes)
    if deed.until is not None:
        command["until"] = deed.until
    if aim.issued_before is not None:
        command["issued_before"] = aim.issued_before
    if aim.dry_run:
        command["dry_run"] = True
    return command


def _confirm(selector: Selector, deed: Deed) -> None:
    if not (wide(selector) and sys.stdin.isatty() and sys.stderr.isatty()):
        return
    if not click.confirm(f"{deed.asks.format(selector)} Go on?", err=True):
        click.echo("Nothing was changed.", err=True)
        raise click.exceptions.Exit(Exit.REFUSED)
