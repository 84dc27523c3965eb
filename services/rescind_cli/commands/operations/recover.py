"""`rescind recover`: a new admin token, made on the authority's own host."""

from pathlib import Path

import click

from rescind_cli import service_process
from rescind_cli.help import suggestions
from rescind_cli.options.authority_options import data_option, json_option
from rescind_cli.output import terminal


@click.group(cls=suggestions.Group)
def recover() -> None:
    """Create a new admin token after the last one was lost."""


@recover.command()
@data_option
@json_option
def admin(*, data: Path | None, as_json: bool) -> None:
    """Create a new admin token, in a file of mode 0600.

    Run it on the authority's host, which has the edge key and can reach Postgres.
    """
    made = service_process.run_verb("rescind_authority", "recover-admin", data=data)
    if as_json:
        terminal.as_json(made)
        return
    terminal.facts(
        [
            ("admin token", str(made["admin_token_file"])),
            ("its id", str(made["admin_token_id"])),
        ]
    )
