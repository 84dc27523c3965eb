"""`rescind lift`: the end of a suspension or a narrowing."""

import click

from rescind_cli.commanding import How, finish, with_how
from rescind_cli.target import Target, with_target


@click.command()
@click.argument("revocation_id", metavar="ID")
@with_how
@with_target
def lift(*, target: Target, revocation_id: str, how: How) -> None:
    """End a suspension or a narrowing; of a kill, the suspension.

    What another one holds stays held. A revoke is final. `rescind revocations ls --standing` lists
    what can be lifted. It needs the scope rescind:lift.
    """
    from rescind.client.admin import Manner  # noqa: PLC0415 - --help need not pay for httpx2

    manner = Manner()
    how.write_into(manner)
    key = how.idempotency_key
    finish(target, how, lambda admin: admin.lift(revocation_id, idempotency_key=key, **manner))
