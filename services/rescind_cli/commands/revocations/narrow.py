"""`rescind narrow`: remove scopes from every token that a selector matches."""

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
@click.option("--remove", multiple=True, required=True, help="A scope, or tools:*; again for more.")
@click.option("--until", type=END, help="When it is lifted by itself: a time, or 2h from now.")
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
    """Remove scopes from every token that has all of these handles.

    SELECTOR is as for `rescind revoke`. The command hits tokens regardless of their time of issue,
    and tokens delegated from them. `rescind lift ID` ends it; so does --until.
    """
    carry_out(
        target,
        selection,
        confirmation,
        options,
        effect="narrow",
        question=f"This takes {' '.join(remove)} from every token with {{}}, until it is lifted.",
        scopes=remove,
        until=until,
    )
