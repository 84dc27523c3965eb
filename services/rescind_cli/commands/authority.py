"""`rescind authority`: becomes `python -m rescind_authority`."""

import click

from rescind_cli import process


@click.command()
def authority() -> None:
    """Run an authority, configured by the environment."""
    process.become("rescind_authority")
