"""`rescind authority`: replace this process by `python -m rescind_authority`."""

from pathlib import Path

import click

from rescind_cli import service_process
from rescind_cli.options.authority_options import data_option


@click.command()
@data_option
def authority(*, data: Path | None) -> None:
    """Run an authority, configured by the environment."""
    service_process.become("rescind_authority", data=data)
