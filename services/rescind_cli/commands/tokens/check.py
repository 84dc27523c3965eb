"""`rescind check`: the verdict of the local sidecar on a token."""

from pathlib import Path

import click

from rescind.client.verifier import Verifier
from rescind.core import scopes
from rescind.core.record import Record
from rescind.core.verdict import Allowed, Denied
from rescind.wire import json_documents
from rescind_cli import settings
from rescind_cli.options.authority_options import data_option, json_option
from rescind_cli.options.param_types import token_from_stdin_or_environment
from rescind_cli.output import terminal
from rescind_cli.output.exit_codes import Exit
from rescind_runtime import clock


@click.command()
@click.option("--require", multiple=True, help="A scope that the token must have. Repeatable.")
@click.option(
    "--audience", help="The service that the token must be valid at. [default: the sidecar's]"
)
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    help="The sidecar's socket. [default: RESCIND_SOCKET]",
)
@click.option(
    "--min-seq",
    type=click.IntRange(0, (1 << 64) - 1),
    default=0,
    help="The ledger seq that the answer must cover, for example the seq of a revocation.",
)
@data_option
@json_option
def check(
    *,
    require: tuple[str, ...],
    audience: str | None,
    socket: Path | None,
    min_seq: int,
    data: Path | None,
    as_json: bool,
) -> None:
    """Check the token on stdin, or else in RESCIND_TOKEN, with the local sidecar.

    Exits 0 if the token is accepted, 1 if it is denied, 5 if no sidecar answers.
    """
    token = token_from_stdin_or_environment()
    verifier = Verifier.attach(settings.sidecar(path=socket, data=data), audience=audience)
    try:
        freshness = verifier.freshness()
        verdict = verifier.check(token, require=require, min_seq=min_seq)
    finally:
        verifier.close()
    match verdict:
        case Allowed(record):
            if as_json:
                terminal.as_json(
                    {
                        "active": True,
                        "record": json_documents.of_record(record),
                        "as_of": max(freshness.as_of, record.as_of, min_seq),
                        "fresh_for_ms": freshness.fresh_for_ms,
                    }
                )
            else:
                _show(record)
        case Denied(reason):
            if as_json:
                terminal.as_json({"active": False, "reason": reason})
            else:
                terminal.line("denied", reason)
            raise click.exceptions.Exit(Exit.REFUSED)


def _show(record: Record) -> None:
    end = terminal.ago(terminal.timestamp(record.expires_at_us), now_us=clock.wall_us())
    terminal.line(
        "accepted",
        record.subject,
        " ".join(sorted(record.scopes)) or "no scopes",
        record.token_id,
        f"ends {end}",
        *((_removed_scopes(record),) if record.removed else ()),
    )


def _removed_scopes(record: Record) -> str:
    shown = scopes.reported(record.removed)
    rest = f" ({len(record.removed):,} patterns)" if shown != record.removed else ""
    return f"without {' '.join(shown)}{rest}"
