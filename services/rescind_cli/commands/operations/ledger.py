"""`rescind ledger`: where the ledger ends, and what to do after a restored backup."""

import sys
from pathlib import Path

import click

from rescind.core.posture import MAX_GRACE_MS
from rescind_cli import service_process
from rescind_cli.help import suggestions
from rescind_cli.options.authority_options import data_option, json_option
from rescind_cli.options.param_types import DURATION
from rescind_cli.output import terminal

_MAX_GRACE_S = MAX_GRACE_MS // 1000


@click.group(cls=suggestions.Group)
def ledger() -> None:
    """Show the ledger, accept it, or begin a new epoch after a restore."""


@ledger.command()
@data_option
@json_option
def show(*, data: Path | None, as_json: bool) -> None:
    """Show where the ledger ends, and where each of its epochs began.

    Run it on the authority's host, which can reach Postgres.
    """
    found = service_process.run_verb("rescind_authority", "show-ledger", data=data)
    if as_json:
        terminal.as_json(found)
        return
    terminal.facts([(name, str(found[name])) for name in ("epoch", "seq", "head")])
    rows = [
        (str(each["epoch"]), str(each["base_seq"]), terminal.timestamp(each["began_at_us"]))
        for each in found["epochs"]
    ]
    terminal.table(("epoch", "after seq", "began"), rows, empty="There is no epoch.")


@ledger.command(name="new-epoch")
@click.option("--yes", is_flag=True, help="Skip the confirmation. Required without a terminal.")
@click.option(
    "--longest-grace",
    type=DURATION,
    default=_MAX_GRACE_S,
    show_default="1h, the maximum",
    help="The longest grace period of any sidecar that ran since the backup; 0: all were strict.",
)
@data_option
@json_option
def new_epoch(*, data: Path | None, as_json: bool, yes: bool, longest_grace: int) -> None:
    """Begin a new epoch, after a restore or a failover with loss.

    Run this after Postgres was restored from a backup, or failed over with a loss of data. First
    fence the old primary: while two primaries answer, it is uncertain which tokens are revoked.
    Then wait for one lease term, the longest since the backup, so that the leases of unreachable
    sidecars end. Every sidecar starts over, denies until its next lease, and sends the revocations
    that this database has lost; the authority recovers them. For one lease term, a receipt comes
    only when the old leases have lapsed.

    This database does not list the sidecars that started after the backup. One of them may be
    unreachable and in grace: for a lease term and 1.2 times the longest grace period, counted from
    the time at which an authority first saw the epoch. During that time each receipt shows when it
    ends, and `--wait` exits 3.
    """
    if longest_grace > _MAX_GRACE_S:
        raise click.UsageError("--longest-grace: the longest possible grace period is 1h")
    if not yes:
        _confirm("Is the old primary fenced, so that no client can reach it?")
    begun = service_process.run_verb(
        "rescind_authority", "new-epoch", f"--longest-grace-ms={longest_grace * 1000}", data=data
    )
    if as_json:
        terminal.as_json(begun)
        return
    terminal.facts([(name, str(begun[name])) for name in ("previous", "epoch", "seq")])


@ledger.command()
@click.option("--yes", is_flag=True, help="Skip the confirmation. Required without a terminal.")
@click.option(
    "--as-it-is",
    is_flag=True,
    help="Accept it with missing or changed events: tokens that they revoked may be accepted.",
)
@data_option
@json_option
def accept(*, data: Path | None, as_json: bool, yes: bool, as_it_is: bool) -> None:
    """Accept the ledger in Postgres as the newest, if this host's `ledger-index` is lost.

    First stop the authority on this host. If another host runs an authority, copy its
    `ledger-index` instead: with it, this host detects a ledger that lost events or was changed.
    """
    if not yes:
        _confirm("Are you sure that only authorities have written to Postgres?")
    options = ("--as-it-is",) if as_it_is else ()
    accepted = service_process.run_verb("rescind_authority", "accept-ledger", *options, data=data)
    if as_json:
        terminal.as_json(accepted)
        return
    terminal.facts([(name, str(accepted[name])) for name in ("epoch", "seq", "head")])


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal for a confirmation: add --yes")
    click.confirm(question, abort=True)
