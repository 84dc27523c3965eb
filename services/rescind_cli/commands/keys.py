"""`rescind keys`: look at the signing keys and rotate them, on the authority's own host."""

from pathlib import Path
from typing import Any

import click

from rescind_cli import process, render
from rescind_cli.target import data_option, json_option

PURPOSES = ("events", "records", "receipts", "enrolment", "edge")


@click.group()
def keys() -> None:
    """Look at the signing keys, or rotate one."""


@keys.command()
@data_option
@json_option
def show(*, data: Path | None, as_json: bool) -> None:
    """Show which keys there are, and which of them sign now."""
    _tell(process.ask("rescind_authority", "show-keys", data=data), as_json=as_json)


@keys.command()
@click.argument("purpose", type=click.Choice(PURPOSES))
@data_option
@json_option
def rotate(*, purpose: str, data: Path | None, as_json: bool) -> None:
    """Make a new key for PURPOSE; it signs from a minute on, when everybody knows it.

    Needs the root key (RESCIND_ROOT_KEY_FILE, if it is kept elsewhere). Where authorities run on
    several hosts, copy the keyring to all of them within that minute. What the key before signed
    stays good until the next rotation; an edge key until the last token that it tagged has ended.
    """
    _tell(process.ask("rescind_authority", f"rotate-{purpose}", data=data), as_json=as_json)


def _tell(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        render.as_json(found)
        return
    rows = [
        (str(key["purpose"]), str(key["key_id"]), "signs" if key["signs"] else "is believed")
        for key in found["keys"]
    ]
    rows += [
        (
            "edge",
            str(key["key_id"]),
            ("tags new tokens" if key["mints"] else "is believed")
            + (f" until {render.timestamp(key['retires_at_us'])}" if key["retires_at_us"] else ""),
        )
        for key in found["edge_keys"]
    ]
    render.table(("purpose", "key", "now"), rows, empty="There are no keys.")
