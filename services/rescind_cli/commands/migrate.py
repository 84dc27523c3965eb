"""`rescind migrate`: the authority's schema, its edge key, and the first admin token."""

from pathlib import Path

import click

from rescind_cli import process, render
from rescind_cli.target import data_option, json_option


@click.command()
@data_option
@json_option
def migrate(*, data: Path | None, as_json: bool) -> None:
    """Bring the authority's schema up to date.

    The first time it also makes the edge key and the first admin token, in files of mode 0600.
    """
    done = process.ask("rescind_authority", "migrate", data=data)
    if as_json:
        render.as_json(done)
        return
    render.facts(
        [
            ("applied", ", ".join(map(str, done["applied"])) or "nothing: it is up to date"),
            ("edge key", str(done["edge_key_file"])),
            ("admin token", str(done["admin_token_file"])),
            ("its id", str(done["admin_token_id"] or "")),
        ]
    )
