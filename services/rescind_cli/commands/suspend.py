"""`rescind suspend`: hold every token that a selector matches, until that is lifted."""

import click

from rescind_cli.commanding import Aim, Care, Deed, How, carry_out, with_aim, with_care, with_how
from rescind_cli.parameters import END
from rescind_cli.target import Target, with_target


@click.command()
@with_aim
@click.option("--until", type=END, help="When it is lifted by itself: a time, or 2h from now.")
@with_care
@with_how
@with_target
def suspend(*, target: Target, aim: Aim, until: str | None, care: Care, how: How) -> None:
    """Suspend every token that has all of these handles, until it is lifted.

    SELECTOR is as for `rescind revoke`. It hits tokens whenever they are issued, and no new ones
    are issued meanwhile. `rescind lift ID` ends it; so does --until.
    """
    deed = Deed("suspend", "This denies every token with {}, until it is lifted.", until=until)
    carry_out(target, deed, aim, care, how)
