"""`rescind fleet`: who verifies, and how fresh each is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from rescind_cli.options.authority_options import CommandTarget, with_target
from rescind_cli.output import terminal
from rescind_runtime import clock

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import FleetInstance

_ID_LENGTH = 32

_COLUMNS = (
    *("service", "instance", "state", "applied", "behind", "seen"),
    *("lease", "posture", "version", "host"),
)


@click.group(invoke_without_command=True)
@click.option("--ended", is_flag=True, help="Show those too that ended in the last hour.")
@with_target
@click.pass_context
def fleet(context: click.Context, *, target: CommandTarget, ended: bool) -> None:
    """Show who verifies, and how fresh each is.

    A sidecar that is silent for longer than its lease answers no check any more; the lease is shown
    as the longest that it can still have. One that is `overdue` has missed a heartbeat: a sidecar
    beats at least each quarter of the term. One that was stopped, or is silent for ten minutes, has
    ended, and is left out.
    """
    if context.invoked_subcommand is None:
        _show(target, ended=ended)


@fleet.command()
@click.argument("instance")
@click.option("--reason", default="", help="Why; it stands in the audit, and in the sidecar's log.")
@with_target
def evict(*, target: CommandTarget, instance: str, reason: str) -> None:
    """End one sidecar's instance: it gets no lease and no events any more.

    INSTANCE is its id, or the beginning of it that `rescind fleet` shows. The lease that it has
    goes on to its end. Its process enrols a new instance when it starts again: to keep a service
    out, revoke the credential, which ends all its instances.
    """
    with target.admin() as admin:
        done = admin.evict(named(admin.fleet(ended=True)["instances"], instance), reason=reason)
    if target.as_json:
        terminal.as_json(done)
        return
    terminal.line("evicted", str(done["service"]), str(done["instance"]))
    terminal.line(f"its last lease ends by {done['lease_ends_at']}")


def named(instances: Sequence["FleetInstance"], text: str) -> str:
    """Return the one id that begins with a text; what is none is sent as it is, to be refused."""
    found = {each["instance"] for each in instances if text}
    meant = sorted(each for each in found if each.startswith(text.lower()))
    if len(meant) > 1:
        raise click.UsageError(f"{len(meant)} sidecars begin with {text!r}: give more of the id")
    if not meant and len(text) < _ID_LENGTH:
        raise click.UsageError(f"no sidecar's id begins with {text!r}: see `rescind fleet`")
    return meant[0] if meant else text


def _show(target: CommandTarget, *, ended: bool) -> None:
    with target.admin() as admin:
        found = admin.fleet(ended=ended)
    if target.as_json:
        terminal.as_json(found)
        return
    now_us = clock.wall_us()
    rows = [
        (
            str(each["service"]),
            str(each["instance"])[:12],
            "overdue" if each.get("overdue") else str(each["state"]),
            "" if each["applied_seq"] is None else str(each["applied_seq"]),
            str(each["lag"]),
            terminal.ago(each["last_seen"], now_us=now_us),
            f"{each['lease_left_ms'] / 1000:.1f} s",
            str(each["posture"]),
            str(each["version"]),
            str(each["host"]),
        )
        for each in found["instances"]
    ]
    terminal.table(_COLUMNS, rows, empty="No sidecar verifies here.", cut=("host",))
    if found.get("ended"):  # an older authority lists them all
        terminal.line("left out", f"{found['ended']:,} that ended: --ended shows them")
