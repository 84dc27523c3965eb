"""The output of a new token, printed only once; `issue` and `delegate` share it."""

import sys
from typing import TYPE_CHECKING

import click

from rescind_cli.output import terminal

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import Issued, Rotated


def show(issued: "Issued | Rotated", *, as_json: bool) -> None:
    """Print the token on stdout and its id on stderr, or both in one document."""
    secret = issued.token.reveal() if issued.token is not None else None
    if as_json:
        terminal.as_json({"token": secret, **issued.facts})
        return
    if secret is None:
        raise click.ClickException(
            f"{issued.token_id} was issued with this idempotency key before, and a token is shown "
            f"only once. If it is lost, run `rescind revoke token:{issued.token_id}`, and issue "
            "another with a new key"
        )
    sys.stdout.write(f"{secret}\n")
    sys.stdout.flush()
    sys.stderr.write(f"{issued.token_id}\n")
