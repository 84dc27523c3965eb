"""`rescind fleet`: who verifies, and how fresh each is."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from rescind_cli import render
from rescind_cli.target import Target, with_target
from rescind_runtime import clock

_ID_LENGTH = 32

_COLUMNS = (
    *("service", "instance", "state", "applied", "behind", "seen"),
    *("lease", "posture", "version", "host"),
)


@click.group(invoke_without_command=True)
@with_target
@click.pass_context
def fleet(context: click.Context, *, target: Target) -> None:
    """Show who verifies, and how fresh each is.

    A sidecar that is silent for longer than its lease answers no check any more; the lease is shown
    as the longest that it can still have. One that is `overdue` has missed a heartbeat: a sidecar
    beats at least each quarter of the term.
    """
    if context.invoked_subcommand is None:
        _show(target)


@fleet.command()
@click.argument("instance")
@click.option("--reason", default="", help="Why; it stands in the audit, and in the sidecar's log.")
@with_target
def evict(*, target: Target, instance: str, reason: str) -> None:
    """End one sidecar's instance: it gets no lease and no events any more.

    INSTANCE is its id, or the beginning of it that `rescind fleet` shows. The lease that it has
    goes on to its end. Its process enrols a new instance when it starts again: to keep a service
    out, revoke the credential, which ends all its instances.
    """
    with target.admin() as admin:
        done = admin.evict(named(admin.fleet()["instances"], instance), reason=reason)
    if target.as_json:
        render.as_json(done)
        return
    render.line("evicted", str(done["service"]), str(done["instance"]))
    render.line(f"its last lease ends by {done['lease_ends_at']}")


def named(instances: Sequence[Mapping[str, Any]], text: str) -> str:
    """Return the one id that begins with a text; what is none is sent as it is, to be refused."""
    found = {str(each["instance"]) for each in instances if text}
    meant = sorted(each for each in found if each.startswith(text.lower()))
    if len(meant) > 1:
        raise click.UsageError(f"{len(meant)} sidecars begin with {text!r}: give more of the id")
    if not meant and len(text) < _ID_LENGTH:
        raise click.UsageError(f"no sidecar's id begins with {text!r}: see `rescind fleet`")
    return meant[0] if meant else text


def _show(target: Target) -> None:
    with target.admin() as admin:
        found = admin.fleet()
    if target.as_json:
        render.as_json(found)
        return
    now_us = clock.wall_us()
    rows = [
        (
            str(each["service"]),
            str(each["instance"])[:12],
            "overdue" if each.get("overdue") else str(each["state"]),
            "" if each["applied_seq"] is None else str(each["applied_seq"]),
            str(each["lag"]),
            render.ago(each["last_seen"], now_us=now_us),
            f"{each['lease_left_ms'] / 1000:.1f} s",
            str(each["posture"]),
            str(each["version"]),
            str(each["host"]),
        )
        for each in found["instances"]
    ]
    render.table(_COLUMNS, rows, empty="No sidecar has reported yet.")
