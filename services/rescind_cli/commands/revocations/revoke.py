"""`rescind revoke`: revoke every token that a selector matches."""

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


@click.command()
@with_selection
@with_confirmation
@with_options
@with_target
def revoke(
    *,
    target: CommandTarget,
    selection: Selection,
    confirmation: Confirmation,
    options: CommandOptions,
) -> None:
    """Revoke every token that matches a selector.

    SELECTOR is one or more handles, and a token must match all of them. Handles: token:…, tree:…,
    subject:agent:x, chain:agent:x, tenant:t, kind:session, label:k=v, created_by:admin:ci, *.
    `-` reads the token itself from stdin. Tokens delegated from a revoked token are revoked too.
    This is final.

    `*` spares admin tokens unless kind:admin is named. *, kind:, tenant:, client:, issuer: and
    label: spare the credentials of sidecars unless kind:sidecar is named.
    """
    confirm_and_send(
        target,
        selection,
        confirmation,
        options,
        effect="revoke",
        question="This permanently revokes every token with {}.",
    )
