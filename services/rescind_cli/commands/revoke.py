"""`rescind revoke`: the end of every token that a selector matches."""

import sys

import click

from rescind.core.handles import Selector, kind_of, select
from rescind.core.secret import Secret
from rescind_cli import render, waiting
from rescind_cli.failures import Exit
from rescind_cli.parameters import DURATION, MOMENT, token_from_stdin
from rescind_cli.target import Target, with_target

WIDE = frozenset({"*", "kind", "issuer", "tenant", "client", "label"})
"""Handles that hit many tokens of many holders: with these alone a person is asked first."""

_STDIN = "-"
_FIRST_WAIT_S = 0.5


@click.command()
@click.argument("selector", nargs=-1, required=True)
@click.option("--reason", default="", help="Why; it stands in the ledger and in the audit.")
@click.option("--issued-before", type=MOMENT, help="Spare what was issued later: a time, or 15m.")
@click.option("--exact", is_flag=True, help="Spare what was delegated from what is hit.")
@click.option("--wait", is_flag=True, help="Return when no verifier accepts it any more.")
@click.option("--timeout", type=DURATION, help="With --wait: give up after so long.")
@click.option("--dry-run", is_flag=True, help="Show what would be hit, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before a wide revocation.")
@click.option("--idempotency-key", help="Repeated under one key, it happens once.")
@with_target
def revoke(
    *,
    target: Target,
    selector: tuple[str, ...],
    reason: str,
    issued_before: str | None,
    exact: bool,
    wait: bool,
    timeout: int | None,
    dry_run: bool,
    yes: bool,
    idempotency_key: str | None,
) -> None:
    """Revoke every token that has all of these handles.

    SELECTOR is a handle: token:…, tree:…, subject:agent:x, chain:agent:x, tenant:t, kind:session,
    label:k=v, *. Several mean AND. `-` reads the token itself from stdin. What was delegated dies
    with what delegated it. This is final.
    """
    from rescind.client.admin import Command  # noqa: PLC0415 - --help need not pay for httpx2

    command = Command(reason=reason, exact=exact)
    if issued_before is not None:
        command["issued_before"] = issued_before
    if wait:
        # A short first wait: it says "awaited" on the event, so that sidecars answer at once.
        command["wait"] = True
        command["timeout"] = _FIRST_WAIT_S
    if dry_run:
        command["dry_run"] = True
    if _STDIN in selector:
        if len(selector) > 1:
            raise click.UsageError("`-` stands alone: the token says all that there is to say")
        secret = Secret(token_from_stdin())
        with target.admin() as admin:
            done = admin.revoke_token(secret, idempotency_key=idempotency_key, **command)
            done = waiting.until_enforced(admin, done, timeout_s=timeout) if wait else done
    else:
        meant = select(selector, exact=exact)
        if not (yes or dry_run):
            _confirm(meant)
        with target.admin() as admin:
            done = admin.revoke(*selector, idempotency_key=idempotency_key, **command)
            done = waiting.until_enforced(admin, done, timeout_s=timeout) if wait else done
    if target.as_json:
        render.as_json(done)
    else:
        hit = " AND ".join(map(str, done["selector"]))
        render.line(str(done["state"]), hit, f"seq {done['seq']}", str(done["id"]))
        if done.get("receipt"):
            waiting.show(done["receipt"])
    if wait:
        raise click.exceptions.Exit(waiting.exit_code(done))


def wide(selector: Selector) -> bool:
    """Say whether a selector names no token, tree, subject or session."""
    return all(kind_of(handle) in WIDE for handle in selector.handles)


def _confirm(selector: Selector) -> None:
    if not (wide(selector) and sys.stdin.isatty() and sys.stderr.isatty()):
        return
    if not click.confirm(f"This ends every token with {selector}, for good. Go on?", err=True):
        click.echo("Nothing was revoked.", err=True)
        raise click.exceptions.Exit(Exit.REFUSED)
