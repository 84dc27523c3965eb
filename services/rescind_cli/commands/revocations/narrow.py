"""`rescind narrow`: remove scopes from every token that a selector matches."""

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
@click.option(
    "--remove",
    multiple=True,
    required=True,
    help="A scope or pattern, such as tools:*. Repeatable.",
)
@click.option("--until", type=END, help="When it is lifted automatically: a time, or 2h from now.")
@with_confirmation
@with_options
@with_target
def narrow(
    *,
    target: CommandTarget,
    selection: Selection,
    remove: tuple[str, ...],
    until: str | None,
    confirmation: Confirmation,
    options: CommandOptions,
) -> None:
    """Remove scopes from every token that matches a selector.

    SELECTOR is as for `rescind revoke`. The narrowing also hits tokens that are issued later, and
    tokens that are delegated from a matching token. It ends by `rescind lift ID`, or at --until.
    """
    confirm_and_send(
        target,
        selection,
        confirmation,
        options,
        effect="narrow",
        question=f"This removes {' '.join(remove)} from every token with {{}} until it is lifted.",
        scopes=remove,
        until=until,
    )
