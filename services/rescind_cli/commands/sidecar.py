"""`rescind sidecar`: becomes `python -m rescind_sidecar`."""

from pathlib import Path

import click

from rescind_cli import process
from rescind_cli.target import data_option


@click.command()
@data_option
def sidecar(*, data: Path | None) -> None:
    """Run a sidecar, configured by the environment."""
    process.become("rescind_sidecar", data=data)
