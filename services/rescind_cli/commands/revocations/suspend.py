"""`rescind suspend`: suspend every token that a selector matches, until it is lifted."""

import click

from rescind_cli.commands.revocations.revocation_command import (
    CommandOptions,
    Confirmation,
    Selection,
    carry_out,
    with_confirmation,
    with_options,
    with_selection,
)
from rescind_cli.options.authority_options import CommandTarget, with_target
from rescind_cli.options.param_types import END


@click.command()
@with_selection
@click.option("--until", type=END, help="When it is lifted by itself: a time, or 2h from now.")
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
    """Suspend every token that has all of these handles, until it is lifted.

    SELECTOR is as for `rescind revoke`. The command hits tokens regardless of their time of issue,
    and no new ones are issued meanwhile. `rescind lift ID` ends it; so does --until.
    """
    carry_out(
        target,
        selection,
        confirmation,
        options,
        effect="suspend",
        question="This denies every token with {}, until it is lifted.",
        until=until,
    )
