"""`rescind sidecar`: run `python -m rescind_sidecar`, or make its credential (`enrol`)."""

import contextlib
import re
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rescind.core.well_known_scopes import AUDIENCE, SERVICE, VERIFY
from rescind.errors import RescindError
from rescind_cli import service_process
from rescind_cli.help import suggestions
from rescind_cli.options.authority_options import CommandTarget, data_option, with_target
from rescind_cli.options.param_types import LIFETIME
from rescind_cli.output import terminal
from rescind_runtime import data_dir

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import Admin, Grant, SidecarBinding

_TTL_S = 365 * 24 * 3600


@click.group(cls=suggestions.Group, invoke_without_command=True)
@data_option
@click.pass_context
def sidecar(context: click.Context, *, data: Path | None) -> None:
    """Run a sidecar, configured by the environment."""
    if context.invoked_subcommand is None:
        service_process.become("rescind_sidecar", data=data)


@sidecar.command()
@click.option("--service", required=True, help="The service whose sidecars enrol with it.")
@click.option(
    "--file",
    "path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file of the credential (mode 0600), for RESCIND_CREDENTIAL_FILE of the sidecars.",
)
@click.option("--ttl", type=LIFETIME, default=_TTL_S, help="The lifetime. [default: 365d]")
@click.option(
    "--posture",
    default="strict",
    show_default=True,
    help="The most lenient posture of its sidecars, such as grace:session=60s,service=5m.",
)
@click.option(
    "--instances", type=int, help="How many sidecars may run at the same time. [default: 100]"
)
@click.option(
    "--replace",
    is_flag=True,
    help="Replace FILE. Its old credential stays valid, and its id is printed.",
)
@with_target
def enrol(
    *,
    target: CommandTarget,
    service: str,
    path: Path,
    ttl: int,
    posture: str,
    instances: int | None,
    replace: bool,
) -> None:
    """Create the credential with which the sidecars of a service enrol.

    Requires the scope rescind:enrol. The credential is a token of kind service: `rescind tokens ls`
    lists it, `rescind revoke` ends it, and wide selectors spare it. A sidecar presents it at its
    start, and gets no lease without it. After it is revoked, suspended or expired, its sidecars get
    no new lease, and their current leases end on time. Create another credential before it
    expires, and restart the sidecars with it.
    """
    _require_service(service)
    path = path.absolute()
    if path.exists() and not replace:
        raise RescindError(
            f"{path} already exists: give another file, or add --replace. The credential in it "
            "stays valid until it is revoked: `rescind revoke - < FILE`"
        )
    binding: SidecarBinding = {"posture": posture}
    if instances is not None:
        binding["instances"] = instances
    grant = _build_grant(service, binding, ttl_s=ttl)
    # The file first: a credential without a file would stay valid unnoticed.
    with _open_file(path) as file, target.admin() as admin:
        replaced = _valid_credential_id(admin, path)
        token_id = _issue_into(file, path, admin, grant)
    if target.as_json:
        terminal.as_json({"token_id": token_id, "file": str(path), "replaced": replaced})
        return
    terminal.facts([("credential", str(path)), ("its id", token_id)])
    if replaced is not None:
        terminal.line(
            "replaced", f"{replaced} is still valid: rescind revoke token:{replaced} ends it"
        )


def _require_service(service: str) -> None:
    """Raise BadParameter if a text is not valid as the name of a service."""
    if not re.fullmatch(SERVICE, service):
        raise click.BadParameter(
            f"{service!r} is not the name of a service: 1 to 63 letters, digits, '.', '_' or '-', "
            "and a letter or digit first",
            param_hint="--service",
        )


def _build_grant(service: str, binding: "SidecarBinding", *, ttl_s: int) -> "Grant":
    return {
        "subject": f"service:{service}",
        "kind": "service",
        "scopes": (VERIFY,),
        "audience": (AUDIENCE,),
        "ttl": ttl_s,
        "sidecars": binding,
    }


def _issue_into(file: data_dir.PrivateFile, path: Path, admin: "Admin", grant: "Grant") -> str:
    """Issue a credential, write it into its file, and return its id.

    A credential that cannot be written is expired. Raises RescindError.
    """
    issued = admin.issue(**grant)
    if issued.token is None:
        raise click.ClickException("the credential was issued before: enrol again")
    try:
        file.put(issued.token.reveal() + "\n")
    except OSError as error:
        admin.expire(issued.token_id, reason="its file could not be written")
        raise _write_error(path, error) from error
    return issued.token_id


def _valid_credential_id(admin: "Admin", path: Path) -> str | None:
    """Return the id of the credential in a file, or None if there is no valid one."""
    from rescind.core.secret import Secret  # noqa: PLC0415 - as for httpx2

    try:
        details = admin.presented(Secret(path.read_text(encoding="ascii").strip()))
    except (OSError, UnicodeDecodeError, RescindError):
        return None
    return None if details["denied"] is not None else str(details["token_id"])


@contextlib.contextmanager
def _open_file(path: Path) -> Generator[data_dir.PrivateFile]:
    """Open the credential's file before the credential is issued. Raises RescindError."""
    try:
        with data_dir.PrivateFile(path) as file:
            yield file
    except OSError as error:
        raise _write_error(path, error) from error


def _write_error(path: Path, error: OSError) -> RescindError:
    return RescindError(
        f"{path} cannot be written: {(error.strerror or str(error)).lower()}. No credential remains"
    )
