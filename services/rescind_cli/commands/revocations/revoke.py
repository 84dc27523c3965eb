"""`rescind revoke`: revoke every token that a selector matches."""

import click

from rescind_cli.commands.revocations.revocation_command import (
    CommandEffect,
    CommandOptions,
    Confirmation,
    Selection,
    carry_out,
    with_aim,
    with_confirmation,
    with_options,
)
from rescind_cli.options.authority_options import CommandTarget, with_target


@click.command()
@with_aim
@with_confirmation
@with_options
@with_target
def revoke(
    *, target: CommandTarget, aim: Selection, confirmation: Confirmation, options: CommandOptions
) -> None:
    """Revoke every token that has all of these handles.

    SELECTOR is a handle: token:…, tree:…, subject:agent:x, chain:agent:x, tenant:t, kind:session,
    label:k=v, created_by:admin:ci, *. Several handles mean AND. `-` reads the token itself from
    stdin. Tokens delegated from a revoked token end with it. This is final.

    `*` spares admin tokens unless kind:admin is named. *, kind:, tenant:, client:, issuer: and
    label: spare the credentials of sidecars unless kind:sidecar is named.
    """
    effect = CommandEffect("revoke", "This ends every token with {}, for good.")
    carry_out(target, effect, aim, confirmation, options)
