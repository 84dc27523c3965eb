"""`rescind recover`: back in, on the authority's own host."""

import click

from rescind_cli import process


@click.group()
def recover() -> None:
    """Get back in when the last admin token is lost."""


@recover.command()
def admin() -> None:
    """Make a new admin token. Runs on the authority's host, where the edge key and Postgres are."""
    process.become("rescind_authority", "recover-admin")
