"""`rescind delegate`: a new token with a part of another token's permissions."""

from typing import TYPE_CHECKING, Unpack, cast

import click

from rescind.core.secret import Secret
from rescind_cli import settings
from rescind_cli.options.authority_options import CommandTarget, with_target
from rescind_cli.options.param_types import LIFETIME, token_from_stdin
from rescind_cli.options.token_options import (
    PortionOptions,
    address_option,
    fields,
    label_option,
    may_speak_for_option,
    scope_option,
    self_service_option,
    verifier_option,
)
from rescind_cli.output import new_token

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import ChildGrant


@click.command()
@click.option("--subject", required=True, help="The new subject: <the parent's subject>/<name>.")
@click.option(
    "--kind", help="The type of the bearer: `agent`, or the parent's kind. [default: agent]"
)
@scope_option
@click.option(
    "--audience",
    multiple=True,
    help="A service that may accept it. Repeatable. [default: parent's]",
)
@click.option(
    "--ttl", type=LIFETIME, help="The lifetime. [default: 1h, or the rest of the parent's]"
)
@label_option
@may_speak_for_option
@click.option("--max-depth", type=int, help="How many levels of descendants it may have; 0: none.")
@address_option
@verifier_option
@self_service_option
@click.option("--idempotency-key", help="A repeat with the same key issues no second token.")
@with_target
def delegate(
    *,
    target: CommandTarget,
    idempotency_key: str | None,
    **options: Unpack[PortionOptions],
) -> None:
    """Delegate a part of a token's permissions, and print the new token once.

    The parent token is read from RESCIND_TOKEN, or else from stdin. The child token never has more
    permissions than its parent, and ends with it. The child token goes to stdout, and its id to
    stderr.
    """
    grant = fields(options)
    parent = settings.holder_token() or Secret(token_from_stdin())
    with target.bearer(parent) as bearer:
        issued = bearer.delegate(idempotency_key=idempotency_key, **cast("ChildGrant", grant))
    new_token.show(issued, as_json=target.as_json)
