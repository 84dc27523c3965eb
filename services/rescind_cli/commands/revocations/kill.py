"""`rescind kill`: revoke all tokens of a subject, and prevent new ones."""

import click

from rescind_cli.commands.revocations.revocation_command import (
    CommandOptions,
    Confirmation,
    Selection,
    confirm_and_send,
    with_confirmation,
    with_options,
)
from rescind_cli.options.authority_options import CommandTarget, with_target
from rescind_cli.options.param_types import END


@click.command()
@click.argument("subject")
@click.option(
    "--until", type=END, help="When new tokens are allowed again: a time, or 2h from now."
)
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
    """Revoke all tokens of a subject, and prevent new ones.

    SUBJECT is, for example, agent:x. Tokens delegated from its tokens are revoked too. The command
    writes two events under one id. The revoke is final; `rescind lift ID` ends the suspension.
    """
    confirm_and_send(
        target,
        Selection.read((f"chain:{subject}",), exact=False, issued_before=None),
        confirmation,
        options,
        effect="kill",
        question="This permanently revokes every token with {}, and prevents new ones.",
        until=until,
    )
