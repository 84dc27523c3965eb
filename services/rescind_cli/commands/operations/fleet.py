"""`rescind fleet`: the sidecars, and how fresh each is."""

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
@click.option("--ended", is_flag=True, help="Include sidecars that ended in the last hour.")
@with_target
@click.pass_context
def fleet(context: click.Context, *, target: CommandTarget, ended: bool) -> None:
    """Show the sidecars and how up to date each is.

    A sidecar without a lease denies every check, except in grace. The column `lease` shows the
    longest time that the lease can still last. An `overdue` sidecar has missed a heartbeat: a
    sidecar sends one at least every quarter of the term. A sidecar has ended if it was stopped, or
    was silent for ten minutes; --ended shows it.
    """
    if context.invoked_subcommand is None:
        _show(target, ended=ended)


@fleet.command()
@click.argument("instance")
@click.option("--reason", default="", help="Reason, stored in the audit and in the sidecar's log.")
@with_target
def evict(*, target: CommandTarget, instance: str, reason: str) -> None:
    """End one sidecar's instance: it receives no more leases and no more events.

    INSTANCE is the id, or the prefix that `rescind fleet` shows. The current lease is not cut
    short. The process enrols a new instance at the next start: to shut out a service, revoke its
    credential, which ends all its instances.
    """
    with target.admin() as admin:
        done = admin.evict(
            instance_id(admin.fleet(ended=True)["instances"], instance), reason=reason
        )
    if target.as_json:
        terminal.as_json(done)
        return
    terminal.line("evicted", str(done["service"]), str(done["instance"]))
    terminal.line(f"the last lease ends by {done['lease_ends_at']}")


def instance_id(instances: Sequence["FleetInstance"], text: str) -> str:
    """Return the id of the only instance that begins with `text`.

    Return a complete id that is not listed unchanged: the authority rejects it. Raises UsageError
    if no id begins with `text`, or several do.
    """
    ids = {each["instance"] for each in instances if text}
    matches = sorted(each for each in ids if each.startswith(text.lower()))
    if len(matches) > 1:
        raise click.UsageError(f"{len(matches)} sidecars begin with {text!r}: give more of the id")
    if not matches and len(text) < _ID_LENGTH:
        raise click.UsageError(f"no sidecar's id begins with {text!r}: see `rescind fleet`")
    return matches[0] if matches else text


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
    terminal.table(_COLUMNS, rows, empty="There are no sidecars.", cut=("host",))
    if found.get("ended"):  # an older authority lists the ended ones too
        terminal.line("not shown", f"{found['ended']:,} that ended; --ended shows them")
