"""`rescind sidecar`: becomes `python -m rescind_sidecar`; `rescind sidecar enrol` comes before."""

from pathlib import Path

import click

from rescind.core.powers import AUDIENCE, VERIFY
from rescind_cli import process, render
from rescind_cli.parameters import DURATION
from rescind_cli.target import Target, data_option, with_target
from rescind_runtime import data_dir

_TTL_S = 365 * 24 * 3600


@click.group(invoke_without_command=True)
@data_option
@click.pass_context
def sidecar(context: click.Context, *, data: Path | None) -> None:
    """Run a sidecar, configured by the environment."""
    if context.invoked_subcommand is None:
        process.become("rescind_sidecar", data=data)


@sidecar.command()
@click.option("--service", required=True, help="The service whose sidecars it is for.")
@click.option(
    "--file",
    "path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the credential goes (mode 0600); RESCIND_CREDENTIAL_FILE names it later.",
)
@click.option("--ttl", type=DURATION, default=_TTL_S, help="How long it lives. [default: 365d]")
@with_target
def enrol(*, target: Target, service: str, path: Path, ttl: int) -> None:
    """Make the credential with which the sidecars of a service enrol.

    It is a token of kind service: `rescind tokens` lists it, `rescind revoke` ends it. A sidecar
    shows it when it starts, and holds no lease without it. Once it is revoked it enrols nobody any
    more; what it enrolled before goes on until it restarts, or until `rescind ledger new-epoch`.
    """
    from rescind.client.admin import Grant  # noqa: PLC0415 - --help need not pay for httpx2

    grant = Grant(
        subject=f"service:{service}", kind="service", scopes=(VERIFY,), audience=(AUDIENCE,)
    )
    grant["ttl"] = ttl
    with target.admin() as admin:
        issued = admin.issue(**grant)
    if issued.token is None:
        raise click.ClickException("the credential was issued before: enrol again")
    data_dir.write_private(path.absolute(), issued.token.reveal() + "\n")
    if target.as_json:
        render.as_json({"token_id": issued.token_id, "file": str(path.absolute())})
    else:
        render.facts([("credential", str(path.absolute())), ("its id", issued.token_id)])
