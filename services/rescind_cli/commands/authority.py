"""`rescind authority`: becomes `python -m rescind_authority`."""

from pathlib import Path

import click

from rescind_cli import process
from rescind_cli.target import data_option


@click.command()
@data_option
def authority(*, data: Path | None) -> None:
    """Run an authority, configured by the environment."""
    process.become("rescind_authority", data=data)
