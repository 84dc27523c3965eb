"""`rescind fleet`: who verifies, and how fresh each is."""

import click

from rescind_cli import render
from rescind_cli.target import Target, with_target
from rescind_runtime import clock

_COLUMNS = (
    *("service", "instance", "state", "applied", "behind", "seen"),
    *("lease", "posture", "version", "host"),
)


@click.command()
@with_target
def fleet(*, target: Target) -> None:
    """Show who verifies, and how fresh each is.

    A sidecar that is silent for longer than its lease answers no check any more; the lease is shown
    as the longest that it can still have.
    """
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
            str(each["state"]),
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
