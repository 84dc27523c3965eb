"""`rescind migrate`: becomes `python -m rescind_authority migrate`."""

import click

from rescind_cli import process


@click.command()
def migrate() -> None:
    """Bring the authority's schema up to date."""
    process.become("rescind_authority", "migrate")
