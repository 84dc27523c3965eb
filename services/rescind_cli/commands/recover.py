"""`rescind recover`: back in, on the authority's own host."""

from pathlib import Path

import click

from rescind_cli import process, render
from rescind_cli.target import data_option, json_option


@click.group()
def recover() -> None:
    """Get back in when the last admin token is lost."""


@recover.command()
@data_option
@json_option
def admin(*, data: Path | None, as_json: bool) -> None:
    """Make a new admin token, in a file of mode 0600.

    Runs on the authority's host, where the edge key is and Postgres can be reached.
    """
    made = process.ask("rescind_authority", "recover-admin", data=data)
    if as_json:
        render.as_json(made)
        return
    render.facts(
        [
            ("admin token", str(made["admin_token_file"])),
            ("its id", str(made["admin_token_id"])),
        ]
    )
