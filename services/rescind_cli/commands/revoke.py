"""`rescind revoke`: the end of every token that a selector matches."""

import click

from rescind_cli.commanding import Aim, Care, Deed, How, carry_out, with_aim, with_care, with_how
from rescind_cli.target import Target, with_target


@click.command()
@with_aim
@with_care
@with_how
@with_target
def revoke(*, target: Target, aim: Aim, care: Care, how: How) -> None:
    """Revoke every token that has all of these handles.

    SELECTOR is a handle: token:…, tree:…, subject:agent:x, chain:agent:x, tenant:t, kind:session,
    label:k=v, created_by:admin:ci, *. Several mean AND. `-` reads the token itself from stdin. What
    was delegated dies with what delegated it. This is final.

    `*` spares admin tokens unless kind:admin is named. *, kind:, tenant:, client:, issuer: and
    label: spare the credentials of sidecars unless kind:sidecar is named.
    """
    deed = Deed("revoke", "This ends every token with {}, for good.")
    carry_out(target, deed, aim, care, how)
