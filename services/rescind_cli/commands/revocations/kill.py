"""`rescind kill`: the end of all that speaks for a subject, and nothing new for it."""

import click

from rescind_cli.commands.revocations.revocation_command import (
    CommandEffect,
    CommandOptions,
    Confirmation,
    Selection,
    carry_out,
    with_confirmation,
    with_options,
)
from rescind_cli.options.authority_options import CommandTarget, with_target
from rescind_cli.options.param_types import END


@click.command()
@click.argument("subject")
@click.option("--until", type=END, help="From when on it may have new tokens: a time, or 2h.")
@with_confirmation
@with_options
@with_target
def kill(
    *,
    target: CommandTarget,
    subject: str,
    until: str | None,
    confirmation: Confirmation,
    options: CommandOptions,
) -> None:
    """End all that speaks for a subject, and let it have nothing new.

    SUBJECT is such as agent:x; what it delegated dies with it. Two events under one id: the
    revocation is final, the suspension ends with `rescind lift ID`.
    """
    deed = CommandEffect("kill", "This ends every token with {}, for good.", until=until)
    carry_out(target, deed, Selection((f"chain:{subject}",)), confirmation, options)
