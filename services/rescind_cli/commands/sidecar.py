"""`rescind sidecar`: becomes `python -m rescind_sidecar`."""

import click

from rescind_cli import process


@click.command()
def sidecar() -> None:
    """Run a sidecar, configured by the environment."""
    process.become("rescind_sidecar")
