"""`rescind sidecar`: becomes `python -m rescind_sidecar`; `rescind sidecar enrol` comes before."""

import re
from pathlib import Path

import click

from rescind.core.powers import AUDIENCE, SERVICE, VERIFY
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
@click.option(
    "--posture",
    default="strict",
    show_default=True,
    help="The most lenient one that its sidecars may declare: grace:session=60s,service=5m.",
)
@click.option("--instances", type=int, help="How many sidecars at once. [default: 100]")
@with_target
def enrol(
    *, target: Target, service: str, path: Path, ttl: int, posture: str, instances: int | None
) -> None:
    """Make the credential with which the sidecars of a service enrol. It needs rescind:enrol.

    It is a token of kind service: `rescind tokens` lists it, `rescind revoke` ends it, and wide
    selectors spare it. A sidecar shows it when it starts, and holds no lease without it. When it is
    revoked, suspended or over, its sidecars get no lease any more; the one that they have goes on
    to its end. So make another one in time, and restart them with it.
    """
    # --help need not pay for httpx2
    from rescind.client.admin import Grant, SidecarBinding  # noqa: PLC0415

    if not re.fullmatch(SERVICE, service):
        raise click.BadParameter(
            f"{service!r} is not the name of a service: 1 to 63 letters, digits, '.', '_' or '-', "
            "and a letter or digit first",
            param_hint="--service",
        )
    binding = SidecarBinding(posture=posture)
    if instances is not None:
        binding["instances"] = instances
    grant = Grant(
        subject=f"service:{service}", kind="service", scopes=(VERIFY,), audience=(AUDIENCE,)
    )
    grant["ttl"] = ttl
    grant["sidecars"] = binding
    with target.admin() as admin:
        issued = admin.issue(**grant)
    if issued.token is None:
        raise click.ClickException("the credential was issued before: enrol again")
    data_dir.write_private(path.absolute(), issued.token.reveal() + "\n")
    if target.as_json:
        render.as_json({"token_id": issued.token_id, "file": str(path.absolute())})
    else:
        render.facts([("credential", str(path.absolute())), ("its id", issued.token_id)])
