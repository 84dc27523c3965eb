"""`rescind migrate`: the authority's schema, its edge key, and the first admin token."""

from pathlib import Path

import click

from rescind_cli import service_process
from rescind_cli.options.authority_options import data_option, json_option
from rescind_cli.output import terminal


@click.command()
@click.option(
    "--new-edge-key",
    is_flag=True,
    help="Create a new edge key after a permanent loss: every older token becomes unknown.",
)
@click.option(
    "--new-keyring",
    is_flag=True,
    help="Create a new keyring after a permanent loss: every older token is denied.",
)
@click.option(
    "--trust-rows",
    is_flag=True,
    help="Accept every row in Postgres as written by an authority. First stop all authorities.",
)
@data_option
@json_option
def migrate(
    *,
    data: Path | None,
    new_edge_key: bool,
    new_keyring: bool,
    trust_rows: bool,
    as_json: bool,
) -> None:
    """Bring the authority's schema up to date.

    The first run also creates the edge key and the first admin token, in files of mode 0600. Later
    runs do not create them: restore a lost edge key from the backup, and replace a lost
    admin token with `rescind recover admin`.
    """
    flags = {
        "--new-edge-key": new_edge_key,
        "--new-keyring": new_keyring,
        "--trust-rows": trust_rows,
    }
    options = tuple(flag for flag, chosen in flags.items() if chosen)
    done = service_process.run_verb("rescind_authority", "migrate", *options, data=data)
    if as_json:
        terminal.as_json(done)
        return
    terminal.facts(
        [
            ("applied", ", ".join(map(str, done["applied"])) or "nothing: it is up to date"),
            ("edge key", str(done["edge_key_file"])),
            ("admin token", str(done["admin_token_file"])),
            ("its id", str(done["admin_token_id"] or "")),
        ]
    )
