"""`rescind narrow`: take scopes away from every token that a selector matches."""

import click

from rescind_cli.commanding import Aim, Care, Deed, How, carry_out, with_aim, with_care, with_how
from rescind_cli.parameters import END
from rescind_cli.target import Target, with_target


@click.command()
@with_aim
@click.option("--remove", multiple=True, required=True, help="A scope, or tools:*; again for more.")
@click.option("--until", type=END, help="When it is lifted by itself: a time, or 2h from now.")
@with_care
@with_how
@with_target
def narrow(
    *, target: Target, aim: Aim, remove: tuple[str, ...], until: str | None, care: Care, how: How
) -> None:
    """Take scopes away from every token that has all of these handles.

    SELECTOR is as for `rescind revoke`. It hits tokens whenever they are issued, and what was
    delegated from them. `rescind lift ID` ends it; so does --until.
    """
    asks = f"This takes {' '.join(remove)} from every token with {{}}, until it is lifted."
    carry_out(target, Deed("narrow", asks, scopes=remove, until=until), aim, care, how)
