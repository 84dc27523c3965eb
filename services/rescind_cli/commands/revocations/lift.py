"""`rescind lift`: the end of a suspension or a narrowing."""

from typing import TYPE_CHECKING

import click

from rescind_cli.commands.revocations.revocation_command import (
    CommandOptions,
    send_and_print,
    with_options,
)
from rescind_cli.options.authority_options import CommandTarget, with_target
from rescind_cli.options.param_types import ID

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import RequestOptions


@click.command()
@click.argument("revocation_id", type=ID, metavar="ID")
@with_options
@with_target
def lift(*, target: CommandTarget, revocation_id: str, options: CommandOptions) -> None:
    """End a suspension or a narrowing, or the suspension of a kill.

    Another suspension or narrowing of the same tokens stays in force. A revoke is final. `rescind
    revocations ls --standing` lists the revocations that can be lifted. Requires the scope
    rescind:lift.
    """
    request: RequestOptions = {}
    options.apply_to(request)
    key = options.idempotency_key
    send_and_print(
        target, options, lambda admin: admin.lift(revocation_id, idempotency_key=key, **request)
    )
