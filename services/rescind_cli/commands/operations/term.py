"""`rescind term`: how long a lease lasts, and so how long a cut-off sidecar may go on."""

import time
from collections.abc import Mapping

import click

from rescind_cli.help import suggestions
from rescind_cli.options.authority_options import CommandTarget, with_target
from rescind_cli.output import terminal

_POLL_S = 0.5


@click.group(cls=suggestions.Group, invoke_without_command=True)
@with_target
@click.pass_context
def term(context: click.Context, *, target: CommandTarget) -> None:
    """Show how long a lease lasts, or change it."""
    if context.invoked_subcommand is None:
        with target.admin() as admin:
            _show(target, admin.term())


@term.command(name="set")
@click.argument("seconds", type=click.FloatRange(0.5, 86_400))
@click.option(
    "--no-wait", is_flag=True, help="Return immediately; the authorities complete the change."
)
@with_target
def set_(*, target: CommandTarget, seconds: float, no_wait: bool) -> None:
    """Set the lease term to SECONDS, and wait until it is in force.

    A longer term takes effect immediately, a shorter term after one old term, when the longer
    leases have ended. If this command or an authority stops, the change is still carried out.
    """
    with target.admin() as admin:
        found = admin.set_term(round(seconds * 1000))
        while not (no_wait or found["settled"]):
            time.sleep(_POLL_S)
            found = admin.term()
    _show(target, found)


def _show(target: CommandTarget, found: Mapping[str, object]) -> None:
    if target.as_json:
        terminal.as_json(found)
        return
    fields = {
        "lease term": "grant_term_ms",
        "wait term": "wait_term_ms",
        "target term": "target_term_ms",
    }
    shown = [(name, f"{float(str(found[key])) / 1000:g} s") for name, key in fields.items()]
    terminal.facts([*shown, ("settled", "yes" if found["settled"] else "not yet")])
