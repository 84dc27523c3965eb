"""`rescind kill`: the end of all that speaks for a subject, and nothing new for it."""

import click

from rescind_cli.commanding import Aim, Care, Deed, How, carry_out, with_care, with_how
from rescind_cli.parameters import END
from rescind_cli.target import Target, with_target


@click.command()
@click.argument("subject")
@click.option("--until", type=END, help="From when on it may have new tokens: a time, or 2h.")
@with_care
@with_how
@with_target
def kill(*, target: Target, subject: str, until: str | None, care: Care, how: How) -> None:
    """End all that speaks for a subject, and let it have nothing new.

    SUBJECT is such as agent:x; what it delegated dies with it. Two events under one id: the
    revocation is final, the suspension ends with `rescind lift ID`.
    """
    deed = Deed("kill", "This ends every token with {}, for good.", until=until)
    carry_out(target, deed, Aim((f"chain:{subject}",)), care, how)
