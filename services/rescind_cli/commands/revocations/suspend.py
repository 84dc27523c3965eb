"""`rescind suspend`: suspend every token that a selector matches, until it is lifted."""

import click

from rescind_cli.commands.revocations.revocation_command import (
    CommandOptions,
    Confirmation,
    Selection,
    confirm_and_send,
    with_confirmation,
    with_options,
    with_selection,
)
from rescind_cli.options.authority_options import CommandTarget, with_target
from rescind_cli.options.param_types import END


@click.command()
@with_selection
@click.option("--until", type=END, help="When it is lifted automatically: a time, or 2h from now.")
@with_confirmation
@with_options
@with_target
def suspend(
    *,
    target: CommandTarget,
    selection: Selection,
    until: str | None,
    confirmation: Confirmation,
    options: CommandOptions,
) -> None:
    """Suspend every token that matches a selector, until the suspension is lifted.

    SELECTOR is as for `rescind revoke`. The suspension also hits tokens that are issued later, and
    the authority issues no matching token meanwhile. It ends by `rescind lift ID`, or at --until.
    """
    confirm_and_send(
        target,
        selection,
        confirmation,
        options,
        effect="suspend",
        question="This suspends every token with {} until the suspension is lifted.",
        until=until,
    )
